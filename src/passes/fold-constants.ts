// Computes before the run what does not depend on inputs or variables.

import { kernels } from "../engines/reference/kernels/index.ts";
import { packedBytes } from "../ir/dtype.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { isStatic } from "../ops/dims.ts";
import { isOpType } from "../ops/index.ts";
import { removeDeadNodes } from "./remove-dead-nodes.ts";

/** Larger results are left to the run: they would only make the file larger. */
const maxBytes = 64 * 1024 * 1024;

/** A value whose contents inference knows as numbers. */
export function knownContents(graph: Graph, value: string): Tensor | undefined {
  const type = graph.values.get(value);
  if (!type?.elements || !isStatic(type.shape) || !isStatic(type.elements)) return undefined;
  if (type.elements.length !== sizeOf(type.shape)) return undefined;
  return tensorOf(type.dtype, type.shape, type.elements);
}

const isSmall = (graph: Graph, value: string): boolean => {
  const type = graph.values.get(value);
  return type !== undefined && isStatic(type.shape) && packedBytes(type.dtype, sizeOf(type.shape)) <= maxBytes;
};

/** They say how a constant is stored, which folding would lose. */
const quantizers: ReadonlySet<string> = new Set(["QuantizeLinear", "DequantizeLinear", "FakeQuantize"]);

const isHalf = ({ dtype }: Tensor): boolean => dtype === "float16" || dtype === "bfloat16";

/** The results of a node whose inputs are all constants; `undefined` where it must run. */
function evaluate(
  graph: Graph,
  node: Node,
  constants: ReadonlyMap<string, Tensor>,
): readonly (Tensor | undefined)[] | undefined {
  const inputs = node.inputs.map((input) => constants.get(input));
  const isConstant = node.inputs.every((input) => input === "" || constants.has(input));
  const isHalfPrecision =
    inputs.some((input) => input && isHalf(input)) || /^b?float16$/.test(String(node.attributes["to"]));
  const outputs = node.outputs.filter((output) => output !== "");
  if (!isConstant || isHalfPrecision || !isOpType(node.op) || quantizers.has(node.op)) return undefined;
  if (!outputs.every((output) => isSmall(graph, output))) return undefined;
  return kernels[node.op](inputs, node);
}

/** A graph output stays a node's output, as files and engines expect. */
function fold(graph: Graph, node: Node, constants: Map<string, Tensor>): boolean {
  const outputs = node.outputs.filter((output) => output !== "");
  const known = outputs.map((output) => knownContents(graph, output));
  const results = known.every((value) => value !== undefined)
    ? known
    : evaluate(graph, node, constants)?.filter((_, i) => node.outputs[i] !== "");
  if (!results) return false;
  outputs.forEach((output, i) => {
    const result = results[i];
    if (result) constants.set(output, result);
  });
  return true;
}

/** The graph must have types. Constant outputs of the graph keep the node that makes them. */
export function foldConstants(graph: Graph): Graph {
  const constants = new Map(graph.constants);
  const named = new Set([...graph.outputs, ...graph.updates.values()]);
  const nodes: Node[] = [];
  for (const node of graph.nodes) {
    const isNamed = node.outputs.some((output) => named.has(output));
    if (isNamed || !fold(graph, node, constants)) nodes.push(node);
  }
  const values = new Map(graph.values);
  for (const [name, { dtype, shape }] of constants) values.set(name, { dtype, shape });
  return removeDeadNodes({ ...graph, nodes, constants, values });
}
