// The same nodes for samples of another length.
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import type { Dim, Graph } from "../ir/graph.ts";
import { withInputTypes } from "./with-input-types.ts";

/** With `length` as the size of all inputs along the first axis of each sample. */
export function withLength(graph: Graph, length: Dim): Graph {
  const types = inputTypes(graph);
  const axes = batchAxes(types);
  const sized = [...types].map(([name, type]) => {
    const shape = type.shape.with(axes.get(name) === 0 ? 1 : 0, length);
    return [name, { ...type, shape }] as const;
  });
  return withInputTypes(graph, new Map(sized));
}
