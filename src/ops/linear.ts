// What the linear operators have in common: the axes of their weight's rows and inputs, and what they do with their bias.
import type { Dim, Node } from "../ir/graph.ts";
import { numberAttribute, printShape } from "./attributes.ts";
import { isTransposed } from "./matrix-shape.ts";

/** The axes of a weight's output channels (its rows) and of its input channels. */
export interface WeightAxes {
  readonly rows: number;
  readonly inputs: number;
}

const rowsFirst: WeightAxes = { rows: 0, inputs: 1 };
const inputsFirst: WeightAxes = { rows: 1, inputs: 0 };

const axesByOp: Readonly<Record<string, (node: Node) => WeightAxes>> = {
  Conv: () => rowsFirst,
  ConvTranspose: () => inputsFirst,
  Gemm: (node) => (isTransposed(node, "transB") ? rowsFirst : inputsFirst),
  MatMul: () => inputsFirst,
};

/** `undefined` for operators that are not linear. */
export const weightAxesOf = (node: Node): WeightAxes | undefined =>
  Object.hasOwn(axesByOp, node.op) ? axesByOp[node.op](node) : undefined;

/** Whether it is a matrix product, whose output channels are the last axis. Those of convolutions are axis 1. */
export const isMatrixProduct = ({ op }: Node): boolean => op === "Gemm" || op === "MatMul";

/** The axis of the channels in a linear operator's output. */
export const channelAxisOf = (node: Node, rank: number): number => (isMatrixProduct(node) ? rank - 1 : 1);

/** Whether its third input is a bias. */
export const takesBias = ({ op }: Node): boolean => op !== "MatMul";

/** What its bias is multiplied by. */
export const biasFactorOf = (node: Node): number => (node.op === "Gemm" ? numberAttribute(node, "beta", 1) : 1);

/** Why a weight of this shape has no single axis of rows that the product keeps apart; `undefined` where it has one. */
export function rowsObstacle(node: Node, weight: readonly Dim[]): string | undefined {
  if (node.op === "ConvTranspose" && numberAttribute(node, "group", 1) !== 1)
    return "it is grouped: its output channels are along two axes";
  if (node.op === "Gemm" && isTransposed(node, "transA")) return "its first input is transposed (transA)";
  if (weight.length < 2 || (isMatrixProduct(node) && weight.length > 2))
    return `its weight "${node.inputs[1]}" has shape ${printShape(weight)}; expected a matrix`;
  return undefined;
}
