// Topological order.
import { FrostbitError } from "./errors.ts";
import { describeNode, type Graph, type Node } from "./graph.ts";

/** The nodes so that each comes after those whose values it reads, otherwise in their old order; a cycle is an error that names it. */
export function sortNodes(graph: Graph): readonly Node[] {
  if (isSorted(graph)) return graph.nodes;
  const indexOf = new Map<string, number>();
  graph.nodes.forEach((node, index) => {
    for (const output of node.outputs) if (output !== "") indexOf.set(output, index);
  });
  const dependencies = graph.nodes.map((node) => dependenciesOf(node, indexOf));
  const order = visitAll(dependencies, (cycle) => {
    const nodes = cycle.map((index) => describeNode(graph.nodes[index]));
    throw new FrostbitError("BAD_MODEL", `the graph has a cycle: ${nodes.join(" reads ")}.`);
  });
  return order.map((index) => graph.nodes[index]);
}

function isSorted(graph: Graph): boolean {
  const known = new Set([...graph.inputs, ...graph.variables]);
  const isUnknown = (value: string): boolean => value !== "" && !known.has(value) && !graph.constants.has(value);
  for (const node of graph.nodes) {
    if (node.inputs.some(isUnknown)) return false;
    for (const output of node.outputs) known.add(output);
  }
  return true;
}

const dependenciesOf = (node: Node, indexOf: ReadonlyMap<string, number>): number[] =>
  node.inputs.flatMap((input) => indexOf.get(input) ?? []);

/** Depth first without recursion: graphs may be deeper than the call stack. */
function visitAll(
  dependencies: readonly (readonly number[])[],
  onCycle: (cycle: readonly number[]) => never,
): number[] {
  const state = new Uint8Array(dependencies.length); // 0 new, 1 on the path, 2 done
  const order: number[] = [];
  for (let root = 0; root < dependencies.length; root++) {
    if (state[root] !== 0) continue;
    const path = [{ index: root, next: 0 }];
    state[root] = 1;
    while (path.length > 0) {
      const top = path[path.length - 1];
      const dependency = dependencies[top.index][top.next++];
      if (dependency === undefined) {
        state[top.index] = 2;
        order.push(top.index);
        path.pop();
      } else if (state[dependency] === 1) {
        const start = path.findIndex(({ index }) => index === dependency);
        onCycle([...path.slice(start).map(({ index }) => index), dependency]);
      } else if (state[dependency] === 0) {
        state[dependency] = 1;
        path.push({ index: dependency, next: 0 });
      }
    }
  }
  return order;
}
