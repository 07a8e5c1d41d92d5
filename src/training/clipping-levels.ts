// PACT (arXiv:1805.06085): activations are clipped at levels that train; the scales follow them.
import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { sortNodes } from "../ir/sort-nodes.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { type Quantizer, quantizersOf } from "../quantizers/quantizer.ts";
import { addUpdate, type Optimizer, optimizerState } from "./optimizer.ts";
import { keepAboveSmallest } from "./smallest-scale.ts";
import type { UpdateRule } from "./step.ts";

/** α = scale · (high − low), which is PACT's for what a Relu gives; other ranges are clipped on both sides, in proportion. */
export interface ClippingLevel {
  /** The variable that holds α. */
  readonly name: string;
  readonly scale: string;
  /** high − low */
  readonly steps: number;
  readonly start: Tensor;
}

/** `initial`: the values of the variables. Quantizers that share a scale share a level. */
export function clipActivations(
  graph: Graph,
  initial: ReadonlyMap<string, Tensor>,
): { graph: Graph; levels: readonly ClippingLevel[] } {
  const build = buildOn(graph);
  const levels = new Map<string, ClippingLevel>();
  const clipped = new Map<string, string>();
  for (const quantizer of quantizersOf(graph)) {
    if (quantizer.granularity !== "tensor") continue;
    const known = levels.get(quantizer.scale);
    const level = known ?? addLevel(build, quantizer, initial);
    levels.set(quantizer.scale, level);
    clipped.set(quantizer.node.name, addClip(build, quantizer, level, initial));
  }
  const whole = build.graph(graph.outputs);
  const nodes = whole.nodes.map((node) => {
    const value = clipped.get(node.name);
    return value === undefined ? node : { ...node, inputs: [value, ...node.inputs.slice(1)] };
  });
  return { graph: { ...whole, nodes: sortNodes({ ...whole, nodes }) }, levels: [...levels.values()] };
}

const numberOf = (value: Tensor | undefined, what: string): number => {
  assert(value, `${what} has no value`);
  return numbersOf(value)[0];
};

const boundsOf = (build: Builder, { node }: Quantizer): readonly number[] =>
  node.inputs.slice(3, 5).map((name) => numberOf(build.constantOf(name), `bound "${name}"`));

function addLevel(build: Builder, quantizer: Quantizer, initial: ReadonlyMap<string, Tensor>): ClippingLevel {
  const [low, high] = boundsOf(build, quantizer);
  const { dtype } = build.type(quantizer.scale);
  const alpha = numberOf(initial.get(quantizer.scale), `scale "${quantizer.scale}"`) * (high - low);
  const name = build.variable(`${quantizer.scale}/clipping_level`, { dtype, shape: [] });
  return { name, scale: quantizer.scale, steps: high - low, start: tensorOf(dtype, [], [alpha]) };
}

/** min(x, α · (high − z)/(high − low)), and the lower end where it is not 0, which the quantizer itself clips at. */
function addClip(
  build: Builder,
  quantizer: Quantizer,
  { name, steps }: ClippingLevel,
  initial: ReadonlyMap<string, Tensor>,
): string {
  const [low, high] = boundsOf(build, quantizer);
  const zeroPoint =
    quantizer.zeroPoint === ""
      ? 0
      : roundHalfToEven(numberOf(initial.get(quantizer.zeroPoint), `zero point "${quantizer.zeroPoint}"`));
  const end = (integer: number): string => build.node("Mul", [name, build.scalar((integer - zeroPoint) / steps, name)]);
  const below = zeroPoint === high ? quantizer.value : build.node("Min", [quantizer.value, end(high)]);
  return zeroPoint === low ? below : build.node("Max", [below, end(low)]);
}

/** A level steps by the optimizer; the scale follows it. */
export const levelRule = (level: ClippingLevel, optimizer: Optimizer): UpdateRule => ({
  state: (name, { dtype, shape }) => optimizerState(optimizer, name, dtype, shape, undefined),
  next: (build, { name, gradient, learningRate }) => {
    const stepped = addUpdate(build, optimizer, { name, gradient, learningRate, rows: undefined });
    const legal = keepAboveSmallest(build, name, level.start, stepped);
    build.update(level.scale, build.node("Div", [legal, build.scalar(level.steps, name)]));
    return legal;
  },
});
