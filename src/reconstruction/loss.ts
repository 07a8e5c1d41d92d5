// What a unit is compared with its float self by.
import type { Builder } from "../ir/builder.ts";
import { type Graph, producers } from "../ir/graph.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { UnitLoss } from "../units/train-unit.ts";

export const lossNames = ["mse", "lp", "cosine"] as const;

export interface UnitLossSettings {
  readonly kind: (typeof lossNames)[number];
  /** Of lp. */
  readonly power: number;
}

/** The value of a step's loss. */
export const lossName = "frostbit/loss";

/**
 * The sum over the targets of the mean over samples and positions of Σ |output − target|^power over channels, which are those of the
 * unit's layers, `unit` as it is before its weights are made soft; `cosine`: of twice what its angle alone makes of that for power 2.
 */
export const channelLoss =
  (unit: Graph, settings: UnitLossSettings): UnitLoss =>
  (build, _, targets) => {
    const losses = [...targets].map(([output, target]) =>
      targetLoss(build, [output, target], channelsOf(unit, output), settings),
    );
    return build.node("Identity", [losses.reduce((sum, each) => build.node("Add", [sum, each]))], {}, lossName);
  };

type Pair = readonly [output: string, target: string];

function targetLoss(build: Builder, pair: Pair, channels: number, { kind, power }: UnitLossSettings): string {
  if (kind === "cosine") return cosineLoss(build, pair, channels);
  const [output, target] = pair;
  const difference = build.node("Sub", [output, target]);
  const raised =
    kind === "mse"
      ? build.node("Mul", [difference, difference])
      : build.node("Pow", [build.node("Abs", [difference]), build.scalar(power, output)]);
  return meanOverPositions(build, raised, channels);
}

function meanOverPositions(build: Builder, value: string, channels: number): string {
  const mean = build.node("ReduceMean", [value], { keepdims: 0 });
  return build.node("Mul", [mean, build.scalar(channels, mean)]);
}

/** Keeps a sample of zeros from dividing by 0. */
const least = 1e-12;

/** 2 ‖t‖² (1 − cos(y, t)) of each sample, in place of ‖y − t‖². */
function cosineLoss(build: Builder, [output, target]: Pair, channels: number): string {
  const axes = build.ints(
    build
      .type(output)
      .shape.slice(1)
      .map((_, i) => i + 1),
  );
  const dot = (a: string, b: string): string =>
    build.node("ReduceSum", [build.node("Mul", [a, b]), axes], { keepdims: 0 });
  const root = (value: string): string => build.node("Sqrt", [build.node("Add", [value, build.scalar(least, value)])]);
  const wanted = dot(target, target);
  const norms = build.node("Mul", [root(dot(output, output)), root(wanted)]);
  const cosine = build.node("Div", [dot(output, target), norms]);
  const weight = build.node("Mul", [wanted, build.scalar(2, wanted)]);
  const angles = build.node("Mul", [weight, build.node("Sub", [build.scalar(1, cosine), cosine])]);
  const elements = build
    .type(output)
    .shape.slice(1)
    .reduce<number>((product, size) => product * Number(size), 1);
  const mean = build.node("ReduceMean", [angles], { keepdims: 0 });
  return build.node("Mul", [mean, build.scalar(channels / elements, mean)]);
}

/** Along the axis of the nearest layer's channels where ranks agree, else along the last. */
function channelsOf(unit: Graph, value: string): number {
  const shape = unit.values.get(value)?.shape.map(Number) ?? [];
  const layers = new Map(linearLayers(unit).map((layer) => [layer.node.name, layer]));
  const makers = producers(unit);
  const seen = new Set<string>();
  let front = [value];
  while (front.length > 0) {
    const nodes = front.flatMap((each) => makers.get(each) ?? []);
    const layer = nodes.map(({ name }) => layers.get(name)).find((found) => found !== undefined);
    const rank = layer && unit.values.get(layer.node.outputs[0])?.shape.length;
    if (layer) return rank === shape.length ? shape[layer.channelAxis] : (shape.at(-1) ?? 1);
    front = nodes.flatMap(({ inputs }) => inputs).filter((input) => !seen.has(input));
    for (const input of front) seen.add(input);
  }
  return shape.at(-1) ?? 1;
}
