// A graph at given sizes of its inputs.
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import type { Dim, Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { foldConstants } from "./fold-constants.ts";
import { inferTypes } from "./infer-types.ts";

/** The names of the inputs' symbolic sizes: which are the batch, and which are others. */
export function symbolicSizes(graph: Graph): { readonly batch: readonly string[]; readonly others: readonly string[] } {
  const types = inputTypes(graph);
  const axes = batchAxes(types);
  const isName = (size: Dim | undefined): size is string => typeof size === "string";
  const batch = new Set([...types].map(([name, { shape }]) => shape[axes.get(name) ?? 0]).filter(isName));
  const all = new Set([...types.values()].flatMap(({ shape }) => shape.filter(isName)));
  return { batch: [...batch], others: [...all].filter((size) => !batch.has(size)) };
}

/** What the inputs' symbolic sizes are in these tensors. */
export function givenSizes(graph: Graph, inputs: ReadonlyMap<string, Tensor>): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>();
  for (const [name, { shape }] of inputs)
    graph.values.get(name)?.shape.forEach((size, axis) => {
      if (typeof size === "string") sizes.set(size, shape[axis]);
    });
  return sizes;
}

/** The graph with numbers in the place of its inputs' symbolic sizes; types are inferred again, and what is constant then is folded. */
export function withSizes(graph: Graph, sizes: ReadonlyMap<string, number>): Graph {
  if (sizes.size === 0) return graph;
  const values = new Map(graph.values);
  for (const [name, type] of inputTypes(graph))
    values.set(name, { ...type, shape: type.shape.map((size) => sizes.get(String(size)) ?? size) });
  return foldConstants(inferTypes({ ...graph, values }));
}
