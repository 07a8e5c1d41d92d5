// What the linear operators have in common: the axes of their weight's rows and inputs, and what they do with their bias.
import type { Dim, Node } from "../ir/graph.ts";
import { numberAttribute, printShape } from "./attributes.ts";
import { groupOf } from "./convolution-shape.ts";
import { isTransposed } from "./matrix-shape.ts";

/** The axes of a weight's output channels (its rows) and of its input channels. */
export interface WeightAxes {
  readonly rows: number;
  readonly inputs: number;
}

const rowsFirst: WeightAxes = { rows: 0, inputs: 1 };
const inputsFirst: WeightAxes = { rows: 1, inputs: 0 };

const axesByOp: Readonly<Record<string, (node: Node, weight: readonly Dim[]) => WeightAxes>> = {
  Conv: () => rowsFirst,
  // Depthwise, the inputs' axis is that of the output channels too.
  ConvTranspose: (node, weight) =>
    groupOf(node) > 1 && weight[0] === groupOf(node) && weight[1] === 1 ? rowsFirst : inputsFirst,
  Gemm: (node) => (isTransposed(node, "transB") ? rowsFirst : inputsFirst),
  MatMul: () => inputsFirst,
};

/** Whether it is a product with a weight: its second input, where that is a constant. */
export const isLinear = ({ op }: Node): boolean => Object.hasOwn(axesByOp, op);

/** Of a weight of this shape; `undefined` for operators that are not linear. */
export const weightAxesOf = (node: Node, weight: readonly Dim[]): WeightAxes | undefined =>
  Object.hasOwn(axesByOp, node.op) ? axesByOp[node.op](node, weight) : undefined;

/**
 * How many output channels share each row of a weight: a ConvTranspose in groups has its output channels along two axes, its
 * groups and its rows.
 */
export function channelsPerRow(node: Node, weight: readonly Dim[]): number {
  if (node.op !== "ConvTranspose" || weightAxesOf(node, weight) !== inputsFirst) return 1;
  return groupOf(node);
}

/** Whether it is a matrix product, whose output channels are the last axis. Those of convolutions are axis 1. */
export const isMatrixProduct = ({ op }: Node): boolean => op === "Gemm" || op === "MatMul";

/** The axis of the channels in a linear operator's output. */
export const channelAxisOf = (node: Node, rank: number): number => (isMatrixProduct(node) ? rank - 1 : 1);

/** Whether its third input is a bias. */
export const takesBias = ({ op }: Node): boolean => op !== "MatMul";

/** Whether a bias of this shape is one number for each channel or for all: Gemm's may also be one for each row of the result. */
export const isBiasOfChannels = (bias: readonly Dim[]): boolean => bias.slice(0, -1).every((size) => size === 1);

/** What its bias is multiplied by. */
export const biasFactorOf = (node: Node): number => (node.op === "Gemm" ? numberAttribute(node, "beta", 1) : 1);

/** Why a weight of this shape has no single axis of rows that the product keeps apart; `undefined` where it has one. */
export function rowsObstacle(node: Node, weight: readonly Dim[]): string | undefined {
  if (node.op === "Gemm" && isTransposed(node, "transA")) return "its first input is transposed (transA)";
  if (weight.length < 2 || (isMatrixProduct(node) && weight.length > 2))
    return `its weight "${node.inputs[1]}" has shape ${printShape(weight)}; expected a matrix`;
  if (weight.includes(0)) return `its weight "${node.inputs[1]}" has shape ${printShape(weight)}: it is empty`;
  return undefined;
}
