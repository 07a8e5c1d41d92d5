// What a node gives where its inputs are constants, or inference knows the contents of its outputs.
import { describeNode, type Graph, type Node } from "../../ir/graph.ts";
import { type Tensor, tensorOf } from "../../ir/tensor.ts";
import { isStatic } from "../../ops/dims.ts";
import { isOpType } from "../../ops/index.ts";
import { kernels } from "../reference/kernels/index.ts";

function contentsOf(graph: Graph, value: string): Tensor | undefined {
  const type = graph.values.get(value);
  if (!type?.elements || !isStatic(type.shape) || !isStatic(type.elements)) return undefined;
  return tensorOf(type.dtype, type.shape, type.elements);
}

export function knownResults(graph: Graph, node: Node): readonly (Tensor | undefined)[] {
  const contents = node.outputs.map((output) => contentsOf(graph, output));
  if (contents.every((result) => result !== undefined)) return contents;
  const inputs = node.inputs.map((input) => graph.constants.get(input));
  if (!isOpType(node.op) || node.inputs.some((input, i) => input !== "" && !inputs[i]))
    throw new Error(`internal: ${describeNode(node)} has no lowering`);
  return kernels[node.op](inputs, node);
}
