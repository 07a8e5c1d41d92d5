// Writes down which axes a Squeeze removes that leaves it to the run: an axis whose size is symbolic stays, also where it happens to be 1.
import type { Graph, Node } from "../ir/graph.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";

const isOpen = ({ op, inputs }: Node): boolean => op === "Squeeze" && !inputs[1];

/** Takes a typed graph. */
export function fixAxes(graph: Graph): Graph {
  if (!graph.nodes.some(isOpen)) return graph;
  const unique = uniqueNamesIn(graph);
  const constants = new Map<string, Tensor>(graph.constants);
  const values = new Map(graph.values);
  const nodes = graph.nodes.map((node) => {
    const shape = graph.values.get(node.inputs[0])?.shape;
    if (!isOpen(node) || !shape) return node;
    const axes = shape.flatMap((size, axis) => (size === 1 ? [axis] : []));
    if (axes.length === 0) return { ...node, op: "Identity", inputs: [node.inputs[0]] };
    const name = unique(`${node.name}/axes`);
    constants.set(name, tensorOf("int64", [axes.length], axes));
    values.set(name, { dtype: "int64", shape: [axes.length] });
    return { ...node, inputs: [node.inputs[0], name] };
  });
  return { ...graph, nodes, constants, values };
}
