// Specialises a graph to one batch size, so that all shapes are numbers.
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { foldConstants } from "./fold-constants.ts";
import { inferTypes } from "./infer-types.ts";
import { removeDeadNodes } from "./remove-dead-nodes.ts";

/** Every symbolic size of the inputs must be the batch, which is on the first axis or where `batchAxes` finds it. */
export function setBatchSize(graph: Graph, batchSize: number): Graph {
  const values = new Map(graph.values);
  const axes = batchAxes(inputTypes(graph));
  for (const input of graph.inputs) {
    const type = graph.values.get(input);
    if (!type) continue;
    const shape = type.shape.map((size, axis) =>
      typeof size === "string" && axis === axes.get(input) ? batchSize : size,
    );
    const open = shape.find((size) => typeof size === "string");
    if (open !== undefined)
      throw new FrostbitError(
        "BAD_MODEL",
        `Input "${input}" has shape [${type.shape.join(", ")}]; size "${open}" is not the batch and must be fixed before training. Give the model a fixed size there.`,
      );
    values.set(input, { ...type, shape });
  }
  return removeDeadNodes(foldConstants(inferTypes({ ...graph, values })));
}
