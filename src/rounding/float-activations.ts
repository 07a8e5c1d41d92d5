// A quantized graph whose weights alone are quantized.
import type { Graph } from "../ir/graph.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";

/** What read quantized activations reads them as they were. */
export function withFloatActivations(graph: Graph): Graph {
  const source = new Map(
    quantizersOf(graph)
      .filter(({ value }) => !graph.constants.has(value))
      .map(({ output, value }) => [output, value]),
  );
  const nodes = graph.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map((input) => source.get(input) ?? input),
  }));
  return { ...graph, nodes };
}
