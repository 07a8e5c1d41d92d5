// How many samples run at once.

import { inputTypes } from "../ir/batch-axes.ts";
import { dtypes } from "../ir/dtype.ts";
import type { Graph } from "../ir/graph.ts";
import { fixedBatch } from "./model-file.ts";

/** What all values of one run may take together, were none of them freed: an upper bound of what an engine holds. */
const budgetBytes = 3 * 2 ** 30;

/** Bytes of all values that one sample gives rise to; sizes that are not known count as 1. */
export function bytesPerSample({ values, constants }: Graph): number {
  let total = 0;
  for (const [name, { dtype, shape }] of values) {
    if (constants.has(name)) continue;
    const elements = shape.reduce<number>((product, size) => product * (typeof size === "number" ? size : 1), 1);
    total += (elements * dtypes[dtype].bits) / 8;
  }
  return total;
}

/** Few enough that what passes between layers stays in the processor's caches, enough for many threads. */
export const evaluationBatch = 64;

/** How many samples the graph takes at a time; `undefined` where it takes any number. */
export const fixedBatchOf = (graph: Graph): number | undefined => fixedBatch({ inputs: inputTypes(graph) });

/** As many samples as fit into memory, `most` at most; as many as the graph takes where its batch is fixed. */
export const batchThatFits = (graph: Graph, most = evaluationBatch): number =>
  fixedBatchOf(graph) ?? Math.max(1, Math.min(most, Math.floor(budgetBytes / Math.max(1, bytesPerSample(graph)))));
