// Multiply-adds of a graph's nodes, by their operators' cost rules.
import type { Graph, Node } from "../ir/graph.ts";
import { opDefinition } from "../ops/index.ts";

function shapeOf(graph: Graph, value: string): readonly number[] | undefined {
  return graph.values.get(value)?.shape.map((size) => (typeof size === "number" ? size : 1));
}

export function multiplyAddsOf(graph: Graph, node: Node): number {
  const inputs = node.inputs.map((input) => (input === "" ? undefined : shapeOf(graph, input)));
  const outputs = node.outputs.map((output) => shapeOf(graph, output) ?? []);
  return opDefinition(node.op)?.cost(inputs, outputs, node).multiplyAdds ?? 0;
}

/** Of one sample; sizes that are known only when the model runs count as 1. */
export const totalMultiplyAdds = (graph: Graph): number =>
  graph.nodes.reduce((sum, node) => sum + multiplyAddsOf(graph, node), 0);
