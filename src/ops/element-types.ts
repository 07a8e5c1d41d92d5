// Which element types the inputs of a node may have: engines read memory by them.
import { type DType, isFloat } from "../ir/dtype.ts";
import type { Node, ValueType } from "../ir/graph.ts";
import { mismatch } from "./attributes.ts";

/** I: int32 or int64; F: a float; W: whole numbers; N: numbers; B: bool. */
type Kind = "I" | "F" | "W" | "N" | "B";

const isIndex = (dtype: DType): boolean => dtype === "int32" || dtype === "int64";

/**
 * A letter for each input, the last repeated where "*" follows it: T, all of one type; a kind; or a dot, any. Operators
 * that are not here check their own.
 */
const letters: Readonly<Record<string, string>> = {
  BatchNormalization: "TTTTT",
  Clip: "TTT",
  Concat: "T*",
  ConstantOfShape: "I",
  Conv: "TTT",
  ConvTranspose: "TTT",
  CumSum: "TI",
  DequantizeLinear: "TFT",
  Einsum: "T*",
  Expand: "TI",
  Gather: "TI",
  GatherElements: "TI",
  GatherND: "TI",
  Gemm: "TTT",
  GroupNormalization: "TTT",
  InstanceNormalization: "TTT",
  LayerNormalization: "TTT",
  MatMul: "TT",
  Pad: "TITI",
  PRelu: "TT",
  QuantizeLinear: ".F.",
  RMSNormalization: "TT",
  Range: "TTT",
  Reshape: "TI",
  Resize: "TFFI",
  ScatterElements: "TIT",
  ScatterND: "TIT",
  Slice: "TIIII",
  SoftmaxCrossEntropyLoss: "TIT",
  Split: "TI",
  Squeeze: "TI",
  Tile: "TI",
  TopK: "TI",
  Trilu: "TI",
  Unsqueeze: "TI",
  Where: "BTT",
};

const words = (text: string): readonly string[] => text.split(/\s+/);

/** What the first input may be, where its operator does not take every type. */
const kinds: ReadonlyMap<string, Kind> = new Map([
  ...words(
    `AveragePool BatchNormalization Celu Conv ConvTranspose Elu Erf Exp Gelu GlobalAveragePool GroupNormalization
     HardSigmoid HardSwish InstanceNormalization LayerNormalization LeakyRelu Log LogSoftmax Mish RMSNormalization
     Reciprocal Selu Sigmoid Softmax SoftmaxCrossEntropyLoss Softplus Softsign Sqrt Tanh ThresholdedRelu`,
  ).map((op) => [op, "F"] as const),
  ...words("BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor").map((op) => [op, "W"] as const),
  ...words(
    `Abs Add CumSum Div Einsum Gemm GlobalMaxPool MatMul MaxPool Mod Mul Neg PRelu Pow ReduceL1 ReduceL2 ReduceLogSumExp
     ReduceMean ReduceProd ReduceSum ReduceSumSquare Relu Resize Sign Sub Sum TopK`,
  ).map((op) => [op, "N"] as const),
  ...words("And Not Or Xor").map((op) => [op, "B"] as const),
]);

const isWhole = (dtype: DType): boolean => !isFloat(dtype) && dtype !== "bool";

const allowed: Readonly<Record<Kind, { readonly words: string; readonly has: (dtype: DType) => boolean }>> = {
  I: { words: "int32 or int64", has: isIndex },
  F: { words: "a float", has: isFloat },
  W: { words: "whole numbers", has: isWhole },
  N: { words: "numbers", has: (dtype) => dtype !== "bool" },
  B: { words: "bool", has: (dtype) => dtype === "bool" },
};

const lettersOf = (op: string): string => letters[op] ?? (op.startsWith("Reduce") ? "TI" : "");

const ruleOf = (letter: string | undefined) => (letter !== undefined && isKind(letter) ? allowed[letter] : undefined);
const isKind = (letter: string): letter is Kind => Object.hasOwn(allowed, letter);

/** Throws SHAPE_MISMATCH where an input has a type that the operator does not take. */
export function checkElementTypes(node: Node, inputs: readonly (ValueType | undefined)[]): void {
  const list = lettersOf(node.op);
  const first = inputs.findIndex((_, i) => letterAt(list, i) === "T");
  inputs.forEach((type, i) => {
    if (!type) return;
    const letter = letterAt(list, i);
    const rule = ruleOf(letter) ?? (i === 0 ? ruleOf(kinds.get(node.op)) : undefined);
    if (rule && !rule.has(type.dtype))
      throw mismatch(node, `input "${node.inputs[i]}" is ${type.dtype}; expected ${rule.words}.`);
    const other = inputs[first];
    if (letter === "T" && other && other.dtype !== type.dtype)
      throw mismatch(
        node,
        `inputs "${node.inputs[first]}" (${other.dtype}) and "${node.inputs[i]}" (${type.dtype}) differ in type; expected one type.`,
      );
  });
}

const letterAt = (list: string, i: number): string =>
  list.endsWith("*") ? (list[Math.min(i, list.length - 2)] ?? ".") : (list[i] ?? ".");
