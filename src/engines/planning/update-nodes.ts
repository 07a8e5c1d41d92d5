// Which nodes of a training step only make the next values of its variables.
import type { Graph, Node } from "../../ir/graph.ts";

/** Nodes that serve the updates alone. */
export function updateNodes(graph: Graph): ReadonlySet<Node> {
  const early = new Set(graph.outputs);
  const isEarly = (node: Node): boolean => node.outputs.some((output) => output !== "" && early.has(output));
  const updates = new Set(graph.updates.values());
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
