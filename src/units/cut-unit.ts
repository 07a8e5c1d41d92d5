// Cuts a unit out of a graph: the nodes between some values and others.
import { FrostbitError } from "../ir/errors.ts";
import { type Graph, type Node, producers } from "../ir/graph.ts";

/** The graph that computes `outputs` from `inputs`, with the constants that they read. Throws if something else is needed. */
export function cutUnit(graph: Graph, inputs: readonly string[], outputs: readonly string[]): Graph {
  const producerOf = producers(graph);
  const stop = new Set(inputs);
  const kept = new Set<Node>();
  const read = new Set<string>();
  const visit = (value: string): void => {
    if (value === "" || stop.has(value) || read.has(value)) return;
    read.add(value);
    const node = producerOf.get(value);
    if (!node) {
      if (graph.constants.has(value)) return;
      throw new FrostbitError(
        "BAD_MODEL",
        `Values ${outputs.join(", ")} also depend on "${value}", which is not among the unit's inputs ${inputs.join(", ")}.`,
      );
    }
    kept.add(node);
    for (const input of node.inputs) visit(input);
  };
  for (const output of outputs) visit(output);
  const nodes = graph.nodes.filter((node) => kept.has(node));
  const names = new Set([...inputs, ...nodes.flatMap((node) => [...node.inputs, ...node.outputs])]);
  return {
    name: `${graph.name}:${outputs.join(",")}`,
    inputs,
    outputs,
    nodes,
    values: new Map([...graph.values].filter(([name]) => names.has(name))),
    constants: new Map([...graph.constants].filter(([name]) => read.has(name))),
    ...(graph.literals ? { literals: graph.literals } : {}),
    variables: [],
    updates: new Map(),
  };
}
