// Turns constants into variables.
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";

/** The graph in which the constants `names` are variables, and their values beside it. */
export function makeVariables(
  graph: Graph,
  names: readonly string[],
): { graph: Graph; initial: ReadonlyMap<string, Tensor> } {
  const constants = new Map(graph.constants);
  const initial = new Map<string, Tensor>();
  for (const name of names) {
    const value = graph.constants.get(name);
    assert(value, `parameter "${name}" has no value`);
    initial.set(name, value);
    constants.delete(name);
  }
  return { graph: { ...graph, constants, variables: [...graph.variables, ...initial.keys()] }, initial };
}
