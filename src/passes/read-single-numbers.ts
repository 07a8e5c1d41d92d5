// Nodes that work element by element read a single number as it is, where it would first be made as large as what it meets.
import { type Graph, type Node, producers } from "../ir/graph.ts";

const readers: ReadonlySet<string> = new Set(["Add", "Sub", "Mul", "Div"]);

/** The graph with Expands of single numbers left out where the other operand has the shape of the result. */
export function readSingleNumbers(graph: Graph): Graph {
  const producerOf = producers(graph);
  const shapeOf = (value: string): string => String(graph.values.get(value)?.shape);
  const single = (value: string): string | undefined => {
    const node = producerOf.get(value);
    const from = node?.op === "Expand" ? node.inputs[0] : undefined;
    const shape = from === undefined ? undefined : graph.values.get(from)?.shape;
    return shape?.every((size) => size === 1) ? from : undefined;
  };
  const read = (node: Node): Node => {
    if (!readers.has(node.op)) return node;
    const shape = shapeOf(node.outputs[0]);
    const [a, b] = node.inputs;
    const isWhole = (value: string): boolean => shapeOf(value) === shape && single(value) === undefined;
    if (isWhole(b) && single(a) !== undefined) return { ...node, inputs: [single(a) ?? a, b] };
    if (isWhole(a) && single(b) !== undefined) return { ...node, inputs: [a, single(b) ?? b] };
    return node;
  };
  return { ...graph, nodes: graph.nodes.map(read) };
}
