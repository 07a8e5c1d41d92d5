// One graph inside another.
import type { Builder } from "../ir/builder.ts";
import type { Graph, Node } from "../ir/graph.ts";

/** Adds another graph's nodes and constants under a prefix, on values that it is given by name; gives its values' new names. */
export function inlineGraph(
  build: Builder,
  graph: Graph,
  prefix: string,
  given: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> {
  const names = new Map(given);
  for (const [name, value] of graph.constants)
    if (!names.has(name)) names.set(name, build.constant(value, prefix + name));
  for (const node of graph.nodes)
    if (!node.outputs.every((output) => names.has(output))) inlineNode(build, node, prefix, names);
  return names;
}

function inlineNode(build: Builder, node: Node, prefix: string, names: Map<string, string>): void {
  const inputs = node.inputs.map((input) => (input === "" ? undefined : names.get(input)));
  const outputs = build.nodes(
    node.op,
    inputs,
    node.outputs.map((output) => output !== ""),
    node.attributes,
    prefix + node.name,
  );
  node.outputs.forEach((output, i) => {
    if (output !== "") names.set(output, outputs[i]);
  });
}
