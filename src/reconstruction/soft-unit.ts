// A unit as it trains: its weights as they learn, and activations that are quantized at random.
import { shuffledOrder } from "../data/sampler.ts";
import type { Builder } from "../ir/builder.ts";
import type { DType } from "../ir/dtype.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { isHalf, roundedToHalf } from "../ir/half.ts";
import { sortNodes } from "../ir/sort-nodes.ts";
import { numbersOf } from "../ir/tensor.ts";
import { loaded } from "../ir/tensor-source.ts";
import { buildOn } from "../ops/infer.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { type Quantizer, quantizersOf } from "../quantizers/quantizer.ts";
import { constantOf, gridOf, quotientsOf, roundedLayers, scaleIndices } from "../rounding/grid.ts";
import type { UnitData } from "../units/optimize-units.ts";
import { randomCounterInput } from "../units/random-counters.ts";
import { type Subset, subsetOf } from "./subset.ts";
import type { LearnedParameter, LearnedWeight } from "./weight-variable.ts";
import { type VariableName, variableOf } from "./weight-variables.ts";

/** By what the weights of a unit learn, and which of them. */
export interface WeightLearning {
  readonly variable: VariableName;
  readonly trainsScale: boolean;
  readonly subset: Subset;
  /** How the file has scales that trained; as the graph has them where absent. */
  readonly scaleType?: "float16" | undefined;
  /** What scales that train themselves (direct) are kept at or above. */
  readonly leastScale?: number | undefined;
}

/** Of the weights that the unit is the first to read; those that are quantized in `float` keep their integers. */
export function learnedWeights(
  { quantized, own }: Pick<UnitData, "quantized" | "own">,
  float: Graph,
  { variable, trainsScale, subset, scaleType, leastScale = 0 }: WeightLearning,
  seed: number,
): SoftWeights {
  const weights = roundedLayers(quantized, float)
    .filter(({ quantizer }) => own.has(quantizer.value) && own.has(quantizer.scale))
    .map(({ layer, quantizer }, index): LearnedWeight => {
      const weight = loaded(constantOf(quantized, quantizer.value));
      const scales = constantOf(quantized, quantizer.scale);
      const rounded = once(() => {
        const grid = gridOf(quantized, quantizer);
        return { quotients: quotientsOf(weight, grid), grid };
      });
      const [low, high] = quantizer.node.inputs.slice(3).map((bound) => numbersOf(constantOf(quantized, bound))[0]);
      return {
        quantizer,
        dtype: weight.dtype,
        shape: weight.shape,
        start: weight,
        get weights() {
          return rounded();
        },
        bounds: { low, high },
        scales,
        zeroPoints: quantizer.zeroPoint === "" ? undefined : constantOf(quantized, quantizer.zeroPoint),
        scaleOf: scaleIndices(quantized, quantizer),
        rowAxis: layer.rowAxis,
        inputAxis: /^Conv/.test(layer.node.op) ? layer.inputAxis : undefined,
        learns:
          subset.share === 1
            ? undefined
            : subsetOf(rounded(), numbersOf(weight), subset, (count) => shuffledOrder(count, seed, index)),
        trainsScale,
        storedScale: storedAs(scaleType ?? scales.dtype),
        leastScale,
        variable: `${quantizer.output}/rounding`,
      };
    });
  return { variable, weights };
}

/** Computed at the first call: not all variables need it, and it is many numbers for each weight. */
function once<T extends object>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

const storedAs = (dtype: DType): ((scale: number) => number) => {
  if (isHalf(dtype)) return (scale) => roundedToHalf(dtype, scale);
  return dtype === "float32" ? Math.fround : (scale) => scale;
};

/** Weights of a unit, all learning by the same kind of variable. */
export interface SoftWeights {
  readonly variable: VariableName;
  readonly weights: readonly LearnedWeight[];
}

/** Constants of a soft unit. */
export const learnedParameters = ({ variable, weights }: SoftWeights): readonly LearnedParameter[] =>
  weights.flatMap((weight) => variableOf(variable, weight).parameters(weight));

/** The weight as it learns in place of each weight's quantizer. */
export function softenWeights(unit: Graph, soft: SoftWeights): Graph {
  return replaceOutputs(
    unit,
    new Map(
      soft.weights.map((weight) => [
        weight.quantizer.output,
        (build) => {
          const { parameters, add } = variableOf(soft.variable, weight);
          for (const { name, start } of parameters(weight)) build.constant(start, name);
          return add(build, weight);
        },
      ]),
    ),
  );
}

/** Quantizers of activations in a unit: of what depends on its inputs. */
export function activationQuantizers(unit: Graph): readonly Quantizer[] {
  const computed = new Set(unit.inputs);
  for (const { inputs, outputs } of unit.nodes)
    if (inputs.some((input) => computed.has(input))) for (const output of outputs) computed.add(output);
  return quantizersOf(unit).filter(({ value }) => computed.has(value));
}

/** QDrop (arXiv:2203.05740): each element of an activation passes its quantizer by with this probability. */
export function dropQuantization(unit: Graph, probability: number): Graph {
  return replaceOutputs(
    unit,
    new Map(
      activationQuantizers(unit).map(({ output, value }) => [
        output,
        (build) => {
          const counter = build.input(randomCounterInput(output), { dtype: "int64", shape: [] });
          return build.node("RandomChoice", [value, output, counter], { probability });
        },
      ]),
    ),
  );
}

/** What a value is replaced by, for all that read it; it may itself be computed from that value. */
type Replacement = (build: Builder) => string;

function replaceOutputs(graph: Graph, replacements: ReadonlyMap<string, Replacement>): Graph {
  const build = buildOn(graph);
  const before = new Set(graph.nodes.map(({ name }) => name));
  const named = new Map([...replacements].map(([value, make]) => [value, make(build)]));
  const renamed = (value: string): string => named.get(value) ?? value;
  const added = build.graph(graph.outputs);
  const reads = (node: Node): Node => (before.has(node.name) ? { ...node, inputs: node.inputs.map(renamed) } : node);
  const rewired = { ...added, nodes: added.nodes.map(reads) };
  return removeDeadNodes({ ...rewired, nodes: sortNodes(rewired) });
}

/** The share of offsets that are neither 0 nor 1 yet, to a hundredth. */
export function undecidedShare(offsets: readonly Float64Array[]): number {
  const all = offsets.reduce((sum, { length }) => sum + length, 0);
  const open = offsets.reduce((sum, each) => sum + each.filter((h) => h > 0.01 && h < 0.99).length, 0);
  return all === 0 ? 0 : open / all;
}
