// Removes what neither an output nor an update depends on: nodes, outputs of nodes, constants and their types.
import type { Graph, Node } from "../ir/graph.ts";
import { opDefinition } from "../ops/index.ts";

function neededValues(graph: Graph): Set<string> {
  const needed = new Set([...graph.outputs, ...graph.updates.values()]);
  for (const node of graph.nodes.toReversed())
    if (node.outputs.some((output) => needed.has(output))) for (const input of node.inputs) needed.add(input);
  needed.delete("");
  return needed;
}

/** The names of unused outputs are dropped, so that kernels need not compute them; a Split's say into how many parts it splits. */
const withoutUnread = (node: Node, needed: ReadonlySet<string>): Node =>
  opDefinition(node.op)?.outputs === "any" ||
  node.outputs.every((output, i) => i === 0 || output === "" || needed.has(output))
    ? node
    : { ...node, outputs: node.outputs.map((output, i) => (i === 0 || needed.has(output) ? output : "")) };

/** Inputs and variables stay: they are the graph's interface. */
export function removeDeadNodes(graph: Graph): Graph {
  const needed = neededValues(graph);
  const nodes = graph.nodes
    .filter((node) => node.outputs.some((output) => needed.has(output)))
    .map((node) => withoutUnread(node, needed));
  const named = new Set([...graph.inputs, ...graph.variables, ...needed, ...nodes.flatMap(({ outputs }) => outputs)]);
  return {
    ...graph,
    nodes,
    constants: new Map([...graph.constants].filter(([name]) => needed.has(name))),
    values: new Map([...graph.values].filter(([name]) => named.has(name))),
  };
}
