// A graph as text, one line a node, for tests that notice changes.
import type { Attribute, Graph, Node } from "../../src/ir/graph.ts";

const printAttribute = (value: Attribute): string =>
  typeof value === "object" && "dtype" in value ? `${value.dtype}[${value.shape.join()}]` : JSON.stringify(value);

function printNode(graph: Graph, { op, inputs, outputs, attributes }: Node): string {
  const settings = Object.entries(attributes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${printAttribute(value)}`);
  const results = outputs.map((name) => (name === "" ? "_" : `${name}${printType(graph, name)}`));
  return `${results.join(", ")} = ${op}(${[...inputs.map((name) => name || "_"), ...settings].join(", ")})`;
}

function printType(graph: Graph, name: string): string {
  const type = graph.values.get(name);
  return type ? `:${type.dtype}[${type.shape.join()}]` : "";
}

/** Inputs, nodes, updates and outputs; the values of constants are left out. */
export function printGraph(graph: Graph): string {
  const typed = (names: Iterable<string>): string[] => [...names].map((name) => `${name}${printType(graph, name)}`);
  return [
    ...typed(graph.inputs).map((line) => `input ${line}`),
    ...typed(graph.variables).map((line) => `variable ${line}`),
    ...graph.nodes.map((node) => printNode(graph, node)),
    ...[...graph.updates].map(([variable, value]) => `update ${variable} = ${value}`),
    ...typed(graph.outputs).map((line) => `output ${line}`),
    "",
  ].join("\n");
}
