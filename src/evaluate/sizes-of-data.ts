// Sizes that a model leaves open and its data decides, such as a sequence's length.
import { preparedInputs } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { lengthsToCut } from "../data/lengths.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { withInputTypes } from "../passes/with-input-types.ts";
import { withLength } from "../passes/with-length.ts";

/** The graph's types with the sizes that all samples of its data have; the batch stays free. The nodes stay as they are. */
export function withSizesOf(graph: Graph, dataset: Dataset, preprocess: Preprocess): Graph {
  const sizes = sizesOf(graph, dataset, preprocess);
  const given = [...inputTypes(graph)].map(
    ([name, type]) =>
      [name, { ...type, shape: type.shape.map((size) => sizes.get(String(size))?.size ?? size) }] as const,
  );
  return sizes.size === 0 ? graph : withInputTypes(graph, new Map(given));
}

/** What the size along which batches are cut is called: no model's own size has this name. */
const openLength = "frostbit/length";

/** The graph's types with that size open again, for batches by length of samples that have several. */
export const withOpenLength = (graph: Graph, dataset: Dataset): Graph =>
  lengthsToCut(dataset) ? withLength(graph, openLength) : graph;

interface Known {
  readonly size: number;
  readonly input: string;
}

/** By its name, every size of the inputs that is not the batch. Throws BAD_DATA where two inputs give the same one differently. */
function sizesOf(graph: Graph, dataset: Dataset, preprocess: Preprocess): ReadonlyMap<string, Known> {
  const types = inputTypes(graph);
  const axes = batchAxes(types);
  const batch = new Set([...types].map(([name, { shape }]) => shape[axes.get(name) ?? 0]));
  const samples = preparedInputs(dataset, preprocess);
  const sizes = new Map<string, Known>();
  for (const [input, { shape }] of types) {
    const given = samples.get(input)?.shape ?? [];
    const open = shape.filter((_, axis) => axis !== axes.get(input));
    for (const [axis, name] of open.entries()) {
      if (typeof name === "number" || batch.has(name) || given[axis] === undefined) continue;
      const seen = sizes.get(name) ?? { size: given[axis], input };
      if (seen.size !== given[axis])
        throw new FrostbitError(
          "BAD_DATA",
          `The model's size "${name}" is ${seen.size} in input "${seen.input}" of "${dataset.name}", and ${given[axis]} in input "${input}". Give both the same size.`,
        );
      sizes.set(name, seen);
    }
  }
  return sizes;
}
