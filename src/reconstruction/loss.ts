// What a unit is compared with its float self by.
import type { Builder } from "../ir/builder.ts";
import { type Graph, producers } from "../ir/graph.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { UnitLoss } from "../units/train-unit.ts";

/**
 * The sum over the targets of the mean over samples and positions of Σ |output − target|^power over channels, which are those of the
 * unit's layers, `unit` as it is before its weights are made soft.
 */
export const channelLoss =
  (unit: Graph, power: number): UnitLoss =>
  (build, _, targets) =>
    [...targets]
      .map(([output, target]) => targetLoss(build, [output, target], channelsOf(unit, output), power))
      .reduce((sum, each) => build.node("Add", [sum, each]));

function targetLoss(build: Builder, [output, target]: readonly [string, string], channels: number, power: number) {
  const difference = build.node("Sub", [output, target]);
  const raised =
    power === 2
      ? build.node("Mul", [difference, difference])
      : build.node("Pow", [build.node("Abs", [difference]), build.scalar(power, output)]);
  const mean = build.node("ReduceMean", [raised], { keepdims: 0 });
  return build.node("Mul", [mean, build.scalar(channels, mean)]);
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
