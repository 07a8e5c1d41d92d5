// Which operators ONNX Runtime runs on integers when what they read and write is quantized: seen in the graphs that it optimizes.
import type { Graph, Node } from "../ir/graph.ts";
import { numbersOf } from "../ir/tensor.ts";
import { stringAttribute } from "../ops/attributes.ts";
import { type LinearLayer, onlyReader } from "./linear-layers.ts";
import { isQuantizer } from "./quantizer.ts";

/** They compute: what they write has a range of its own. Products are no part of it. */
const computingOps: ReadonlySet<string> = new Set([
  "Add",
  "Mul",
  "Concat",
  "GlobalAveragePool",
  "AveragePool",
  "Sigmoid",
  "LeakyRelu",
]);

export const isIntegerKernel = ({ op }: Node): boolean => computingOps.has(op);

/** They move values without changing them: integers of one range on both sides. Sizes and indices are their other inputs. */
const movingOps: ReadonlySet<string> = new Set([
  "MaxPool",
  "Reshape",
  "Flatten",
  "Squeeze",
  "Unsqueeze",
  "Transpose",
  "Slice",
  "Split",
  "Identity",
  "DepthToSpace",
  "Gather",
  "Expand",
  "Tile",
]);

export const movesIntegers = (node: Node): boolean => movingOps.has(node.op) || isNearestResize(node);

function isNearestResize(node: Node): boolean {
  const mode = stringAttribute(node, "coordinate_transformation_mode", "half_pixel");
  return (
    node.op === "Resize" && stringAttribute(node, "mode", "nearest") === "nearest" && mode !== "tf_crop_and_resize"
  );
}

/** Whether both sides have one range, though the runtime may move floats: padding with anything but 0 adds a value that the range need not hold. */
export function keepsRange(graph: Graph, node: Node): boolean {
  if (node.op !== "Pad" || !node.inputs[2])
    return movesIntegers(node) || node.op === "Pad" || node.op === "SpaceToDepth";
  const padding = graph.constants.get(node.inputs[2]);
  return padding !== undefined && numbersOf(padding).every((value) => value === 0);
}

/** Whether the product writes integers alone: those of matrices are also had as floats, at no loss of speed. */
export const writesIntegers = ({ node }: LinearLayer): boolean => node.op === "Conv";

/** Whether the product can write integers. */
export const canWriteIntegers = ({ node }: LinearLayer): boolean => node.op !== "ConvTranspose";

/** Computed in the kernel of the operator before them: no quantizer between. */
export const isFusedActivation = ({ op }: Node): boolean => op === "Relu" || op === "Clip";

const isFused = ({ constants }: Graph, node: Node): boolean =>
  isFusedActivation(node) || (node.op === "Add" && constants.has(node.inputs[1]));

/**
 * Whether a layer that reads integers computes with them, or would: ONNX Runtime makes integers of its own of float weights there.
 * Convolutions do where all that reads what they write, `output`, behind the bias and the activation that their kernel computes too,
 * is one quantizer.
 */
export function computesWithIntegers(
  graph: Graph,
  readers: ReadonlyMap<string, readonly Node[]>,
  node: Node,
  output = node.outputs[0],
): boolean {
  if (!node.op.startsWith("Conv")) return true;
  const next = onlyReader(graph, readers, output);
  if (next && isFused(graph, next) && next.inputs[0] === output)
    return computesWithIntegers(graph, readers, node, next.outputs[0]);
  return node.op === "Conv" && isQuantizer(next);
}
