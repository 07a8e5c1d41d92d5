import { expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, scalar, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { reestimateStatistics } from "./reestimate-statistics.ts";

const context = { engine: createReferenceEngine(), seed: 0 };
const batchSize = 4;

async function* batchesOf(seeds: readonly number[]): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  for (const seed of seeds) yield new Map([["input", tinyBatch("float64", batchSize, seed).images]]);
}

const reestimated = (graph: Graph, seeds: readonly number[]): Promise<Graph> =>
  reestimateStatistics(graph, batchSize, batchesOf(seeds), batchSize * seeds.length, context);

const values = (graph: Graph, name: string): readonly number[] =>
  Array.from(numbersOf(graph.constants.get(name) ?? scalar("float64", Number.NaN)));

/** Mean and unbiased variance of each channel of the first convolution's outputs, by running the graph up to there. */
async function statisticsOf(graph: Graph, seed: number): Promise<{ means: number[]; variances: number[] }> {
  const node = graph.nodes.find(({ name }) => name === "conv1");
  const output = node?.outputs[0] ?? "";
  const executable = await context.engine.compile({ ...graph, outputs: [output] });
  const program = executable.bind(await context.engine.variables(new Map()));
  const found = await program.run(new Map([["input", tinyBatch("float64", batchSize, seed).images]]));
  const y = found.get(output) ?? scalar("float64", 0);
  const [samples, channels, height, width] = y.shape;
  const data = numbersOf(y);
  const ofChannel = (c: number): number[] =>
    Array.from({ length: samples }, (_, n) =>
      Array.from(data.slice((n * channels + c) * height * width, (n * channels + c + 1) * height * width)),
    ).flat();
  const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
  const lists = Array.from({ length: channels }, (_, c) => ofChannel(c));
  const means = lists.map(mean);
  const variances = lists.map(
    (list, c) => list.reduce((sum, value) => sum + (value - means[c]) ** 2, 0) / (list.length - 1),
  );
  return { means, variances };
}

test("the statistics are the means of those of the batches", async () => {
  const graph = tinyClassifier();
  const result = await reestimated(graph, [1, 2]);
  const [a, b] = [await statisticsOf(graph, 1), await statisticsOf(graph, 2)];
  expectClose(
    values(result, "bn1.running_mean"),
    a.means.map((value, c) => (value + b.means[c]) / 2),
  );
  expectClose(
    values(result, "bn1.running_var"),
    a.variances.map((value, c) => (value + b.variances[c]) / 2),
  );
  expect(values(result, "bn1.weight")).toEqual(values(graph, "bn1.weight"));
  expect(values(result, "bn2.running_mean")).not.toEqual(values(graph, "bn2.running_mean"));
});

test("statistics that no output depends on stay as they are", async () => {
  const build = buildOn(tinyClassifier());
  const parameters = ["factor", "offset", "mean", "variance"].map((name) =>
    build.constant(tensorOf("float64", [4], [1, 2, 3, 4]), `other.${name}`),
  );
  build.node("BatchNormalization", ["logits", ...parameters], {}, "other");
  const result = await reestimated(build.graph(["logits"]), [1]);
  for (const name of ["other.mean", "other.variance"]) expect(values(result, name)).toEqual([1, 2, 3, 4]);
  expect(values(result, "bn1.running_mean")).not.toEqual(values(tinyClassifier(), "bn1.running_mean"));
});

test("without batches the statistics stay", async () => {
  const graph = tinyClassifier();
  expect(await reestimated(graph, [])).toBe(graph);
});
