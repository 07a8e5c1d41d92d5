// Which nodes of a training step only make the next values of its variables, or gradients that others will make them of.
import type { Graph, Node } from "../../ir/graph.ts";

/** Nodes that serve the updates alone, or these outputs, which are gradients. */
export function updateNodes(graph: Graph, gradients: readonly string[] = []): ReadonlySet<Node> {
  const early = new Set(graph.outputs.filter((output) => !gradients.includes(output)));
  const isEarly = (node: Node): boolean => node.outputs.some((output) => output !== "" && early.has(output));
  const updates = new Set([...graph.updates.values(), ...gradients]);
  const late = new Set<Node>();
  const readLate = new Set<string>();
  for (const node of graph.nodes.toReversed()) {
    const feedsUpdates = node.outputs.some((output) => output !== "" && (updates.has(output) || readLate.has(output)));
    const isLate = feedsUpdates && !isEarly(node);
    if (isLate) late.add(node);
    for (const input of node.inputs) (isLate ? readLate : early).add(input);
  }
  return late;
}
