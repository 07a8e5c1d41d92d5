// Multiply-adds of a graph's nodes, by their operators' cost rules.
import type { Graph, Node } from "../ir/graph.ts";
import { opDefinition } from "../ops/index.ts";

/** Sizes that only a run knows are NaN, and so is every cost that depends on them. */
const shapeOf = (graph: Graph, value: string): readonly number[] | undefined =>
  graph.values.get(value)?.shape.map((size) => (typeof size === "number" ? size : Number.NaN));

/** `undefined` where sizes that only a run knows decide. */
export function multiplyAddsOf(graph: Graph, node: Node): number | undefined {
  const inputs = node.inputs.map((input) => (input === "" ? undefined : shapeOf(graph, input)));
  const outputs = node.outputs.map((output) => shapeOf(graph, output) ?? []);
  const count = opDefinition(node.op)?.cost(inputs, outputs, node).multiplyAdds ?? 0;
  return Number.isNaN(count) ? undefined : count;
}

/** Of all nodes whose sizes are known. */
export const totalMultiplyAdds = (graph: Graph): number =>
  graph.nodes.reduce((sum, node) => sum + (multiplyAddsOf(graph, node) ?? 0), 0);
