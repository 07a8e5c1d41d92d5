// How many samples run at once, or are held at once.
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import type { Dim, Graph } from "../ir/graph.ts";
import { totalMultiplyAdds } from "../passes/count-operations.ts";
import { bytesOf } from "../passes/peak-bytes.ts";
import { withInputTypes } from "../passes/with-input-types.ts";
import { fixedBatch } from "./model-file.ts";

/** What all values of one run may take together, were none of them freed: an upper bound of what an engine holds. */
const budgetBytes = 2 ** 30;

/** What is fetched of one run may take. */
export const heldBytes = 2 ** 28;

/** Multiply-adds of measuring something that few samples tell: well under a second on two cores. */
const fewOperations = 2e10;

/** The graph's types for a batch of one, or of as many as it takes where its batch is fixed. */
export function oneSample(graph: Graph): Graph {
  const types = inputTypes(graph);
  const axes = batchAxes(types);
  const single = [...types].map(([name, type]) => {
    const one = (size: Dim, axis: number): Dim => (typeof size === "string" && axis === axes.get(name) ? 1 : size);
    return [name, { ...type, shape: type.shape.map(one) }] as const;
  });
  return withInputTypes(graph, new Map(single));
}

/** By value, its bytes in a graph's types; a size that is known only while the graph runs counts as the largest that is known. */
function byteCounter(graph: Graph): (value: string) => number {
  const known = [...graph.values.values()].flatMap(({ shape }) => shape.filter((size) => typeof size === "number"));
  const largest = known.reduce((most, size) => Math.max(most, size), 1);
  return (value) => {
    const type = graph.values.get(value);
    return type ? bytesOf(type, largest) : 0;
  };
}

/** Of all values that one sample gives rise to. */
export function bytesPerSample(graph: Graph): number {
  const single = oneSample(graph);
  const bytes = byteCounter(single);
  return [...single.values.keys()].reduce((sum, value) => sum + (single.constants.has(value) ? 0 : bytes(value)), 0);
}

/** Few enough that what passes between layers stays in the processor's caches, enough for many threads. */
export const evaluationBatch = 64;

/** How many samples the graph takes at a time; `undefined` where it takes any number. */
export const fixedBatchOf = (graph: Graph): number | undefined => fixedBatch({ inputs: inputTypes(graph) });

/** Outputs of one run may take: they are copied out of the engine, and compared with another's. */
const outputBytes = 2 ** 27;

/** As many samples as fit into memory, `most` at most; as many as the graph takes where its batch is fixed. */
export function batchThatFits(graph: Graph, most = evaluationBatch): number {
  const fixed = fixedBatchOf(graph);
  if (fixed !== undefined) return fixed;
  const single = oneSample(graph);
  const outputs = single.outputs.map(byteCounter(single)).reduce((sum, bytes) => sum + bytes, 0);
  const fits = Math.min(budgetBytes / Math.max(1, bytesPerSample(graph)), outputBytes / Math.max(1, outputs));
  return Math.max(1, Math.min(most, Math.floor(fits)));
}

/** How many samples to measure something on that few of them tell, `most` at most. The graph's types are those of one. */
export const affordableSamples = (graph: Graph, most: number, operations = fewOperations): number =>
  Math.max(1, Math.min(most, Math.floor(operations / Math.max(1, totalMultiplyAdds(graph)))));

/** What is fetched together, and of how many samples. */
export interface Fetches<T> {
  readonly samples: number;
  /** In the order given: each group's values fit into memory for so many samples. */
  readonly groups: readonly (readonly T[])[];
}

/**
 * Of as many samples as the values of all items fit into memory for, `most` at most; where those of one sample do not, group by
 * group. The graph's types are those of one sample.
 */
export function planFetches<T>(
  graph: Graph,
  items: readonly T[],
  valuesOf: (item: T) => readonly string[],
  most: number,
): Fetches<T> {
  const bytesOfValue = byteCounter(graph);
  const bytesOf = (item: T): number => valuesOf(item).reduce((sum, value) => sum + bytesOfValue(value), 0);
  const total = items.reduce((sum, item) => sum + bytesOf(item), 0);
  const samples = Math.max(1, Math.min(most, Math.floor(heldBytes / Math.max(1, total))));
  const groups: T[][] = [];
  let held = Number.POSITIVE_INFINITY;
  for (const item of items) {
    const bytes = samples * bytesOf(item);
    if (held + bytes > heldBytes) {
      groups.push([]);
      held = 0;
    }
    groups[groups.length - 1].push(item);
    held += bytes;
  }
  return { samples, groups };
}
