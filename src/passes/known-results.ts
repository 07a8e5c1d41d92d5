// What a node gives where its inputs are constants, or inference knows the contents of its outputs.

import { describeNode, type Graph, type Node } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { isOpType } from "../ops/index.ts";
import { computeConstants, knownContents } from "./fold-constants.ts";

export function knownResults(graph: Graph, node: Node): readonly (Tensor | undefined)[] {
  const contents = node.outputs.map((output) => knownContents(graph, output));
  if (contents.every((result) => result !== undefined)) return contents;
  const inputs = node.inputs.map((input) => graph.constants.get(input));
  if (!isOpType(node.op) || node.inputs.some((input, i) => input !== "" && !inputs[i]))
    throw new Error(`internal: ${describeNode(node)} is not known before a run`);
  return computeConstants(node.op, inputs, node);
}
