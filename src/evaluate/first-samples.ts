// Some of the samples of a batch, and what a graph makes of one.
import { changeSamples } from "../data/batch-axis.ts";
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { withInputTypes } from "../passes/with-input-types.ts";
import { fixedBatchOf } from "./batch-that-fits.ts";
import { firstRows } from "./model-file.ts";

type Inputs = ReadonlyMap<string, Tensor>;

/** How many samples a batch of the graph's inputs has. */
export function countSamples(graph: Graph, batch: Inputs): number {
  const axes = batchAxes(inputTypes(graph));
  const [count = 1] = [...batch].flatMap(([name, { shape }]) => shape[axes.get(name) ?? 0] ?? []);
  return count;
}

/** The first `count` samples of a batch; all of them where the graph takes so many alone. */
export const firstSamples = (graph: Graph, batch: Inputs, count: number): Inputs =>
  fixedBatchOf(graph) === undefined
    ? changeSamples(batch, batchAxes(inputTypes(graph)), (rows) => firstRows(rows, count))
    : batch;

/** The graph's types for the batch's first sample, or for all of it where the graph takes so many alone. */
export const typedForOne = (graph: Graph, batch: Inputs): Graph =>
  withInputTypes(
    graph,
    new Map([...firstSamples(graph, batch, 1)].map(([name, { dtype, shape }]) => [name, { dtype, shape }])),
  );
