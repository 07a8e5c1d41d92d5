// The graph with the outputs alone that a run is about.
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";

/** All outputs where `names` is absent. Throws BAD_OPTION naming what is not an output. */
export function selectOutputs(graph: Graph, names: readonly string[] | undefined): Graph {
  if (!names) return graph;
  const unknown = names.filter((name) => !graph.outputs.includes(name));
  if (unknown.length === 0) return { ...graph, outputs: names };
  throw new FrostbitError(
    "BAD_OPTION",
    `outputs names ${unknown.map((name) => `"${name}"`).join(", ")}; the model's outputs are ${graph.outputs.map((name) => `"${name}"`).join(", ")}.`,
  );
}
