// Removes what neither an output nor an update depends on: nodes, outputs of nodes, constants and their types.
import type { Graph, Node } from "../ir/graph.ts";
import { opDefinition } from "../ops/index.ts";

function neededValues(graph: Graph): Set<string> {
  const needed = new Set([...graph.outputs, ...graph.updates.values()]);
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const { inputs, outputs } = graph.nodes[i];
    if (outputs.some((output) => needed.has(output))) for (const input of inputs) needed.add(input);
  }
  needed.delete("");
  return needed;
}

/** The names of unused outputs are dropped, so that kernels need not compute them; a Split's say into how many parts it splits. */
const withoutUnread = (node: Node, needed: ReadonlySet<string>): Node =>
  opDefinition(node.op)?.outputs === "any" ||
  node.outputs.every((output, i) => i === 0 || output === "" || needed.has(output))
    ? node
    : { ...node, outputs: node.outputs.map((output, i) => (i === 0 || needed.has(output) ? output : "")) };

/** The entries of these names, without copying a list of all entries: graphs may have a million. */
function entriesOf<T>(map: ReadonlyMap<string, T>, names: ReadonlySet<string>): ReadonlyMap<string, T> {
  if (hasAll(names, map)) return map;
  const kept = new Map<string, T>();
  for (const [name, value] of map) if (names.has(name)) kept.set(name, value);
  return kept;
}

function hasAll(names: ReadonlySet<string>, map: ReadonlyMap<string, unknown>): boolean {
  for (const name of map.keys()) if (!names.has(name)) return false;
  return true;
}

/** Inputs and variables stay: they are the graph's interface. */
export function removeDeadNodes(graph: Graph): Graph {
  const needed = neededValues(graph);
  const nodes = graph.nodes
    .filter((node) => node.outputs.some((output) => needed.has(output)))
    .map((node) => withoutUnread(node, needed));
  const constants = entriesOf(graph.constants, needed);
  for (const names of [graph.inputs, graph.variables, ...nodes.map(({ outputs }) => outputs)])
    for (const name of names) needed.add(name);
  return { ...graph, nodes, constants, values: entriesOf(graph.values, needed) };
}
