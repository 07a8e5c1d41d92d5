// What an operator's inputs are: element types, how many there may be, which may be left out. Engines read memory by them.
import { type DType, isFloat } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Node, type ValueType } from "../ir/graph.ts";
import { mismatch, printShape } from "./attributes.ts";

/** The axis of another input that 1-D indices point into. */
export interface Indexed {
  readonly input: number;
  readonly axis: (node: Node) => number;
}

type Rank = "any" | "a vector" | "a vector or a scalar" | "a vector of one" | "a scalar or a vector of one";

export interface InputSchema {
  /** The element types that it takes, in words. */
  readonly words: string;
  readonly takes: (dtype: DType) => boolean;
  /** Inputs that are tied have one element type, ONNX's T. */
  readonly isTied: boolean;
  readonly isOptional: boolean;
  /** It may be given once or more; the last input alone. */
  readonly isRepeated: boolean;
  /** It says what sizes the output has, and nothing else about it. */
  readonly holdsSizes: boolean;
  /** How many axes it may have. */
  readonly rank: Rank;
  /** What it indexes, where it holds the indices of rows. */
  readonly indexes?: Indexed;
}

const required = (words: string, takes: (dtype: DType) => boolean): InputSchema => ({
  words,
  takes,
  isTied: false,
  isOptional: false,
  isRepeated: false,
  holdsSizes: false,
  rank: "any",
});

export const anything = required("any type", () => true);
export const numbers = required("numbers", (dtype) => dtype !== "bool");
export const floats = required("a float", isFloat);
export const wholeNumbers = required("whole numbers", (dtype) => !isFloat(dtype) && dtype !== "bool");
export const bools = required("bool", (dtype) => dtype === "bool");
/** Indices and amounts. */
export const integers = required("int32 or int64", (dtype) => dtype === "int32" || dtype === "int64");

export const vector = (input: InputSchema): InputSchema => ({ ...input, rank: "a vector" });
export const vectorOrScalar = (input: InputSchema): InputSchema => ({ ...input, rank: "a vector or a scalar" });
export const oneElement = (input: InputSchema): InputSchema => ({ ...input, rank: "a vector of one" });
/** A number, or a vector of one. */
export const single = (input: InputSchema): InputSchema => ({ ...input, rank: "a scalar or a vector of one" });

/** The sizes that the output is to have. */
export const sizes: InputSchema = { ...vector(integers), holdsSizes: true };

export const tied = (input: InputSchema): InputSchema => ({ ...input, isTied: true });
export const optional = (input: InputSchema): InputSchema => ({ ...input, isOptional: true });
export const repeated = (input: InputSchema): InputSchema => ({ ...input, isRepeated: true });
/** Indices of rows of another input, along the axis that the node's attribute names or `axis`. */
export const rowsOf = (input: number, axis: Indexed["axis"]): InputSchema => ({
  ...integers,
  indexes: { input, axis },
});

const isOne = (dim: Dim): boolean => dim === 1 || typeof dim === "string";

const isOfRank: Readonly<Record<Rank, (shape: readonly Dim[]) => boolean>> = {
  any: () => true,
  "a vector": (shape) => shape.length === 1,
  "a vector or a scalar": (shape) => shape.length <= 1,
  "a vector of one": (shape) => shape.length === 1 && isOne(shape[0]),
  "a scalar or a vector of one": (shape) => shape.length === 0 || (shape.length === 1 && isOne(shape[0])),
};

/** Throws BAD_MODEL where an input is missing or too many are given, and SHAPE_MISMATCH where one has a type or a number of axes that is not taken. */
export function checkInputs(
  node: Node,
  schema: readonly InputSchema[],
  types: readonly (ValueType | undefined)[],
): void {
  checkCount(node, schema);
  let first = -1;
  types.forEach((type, i) => {
    if (!type) return;
    const { takes, words, isTied, rank } = schema[Math.min(i, schema.length - 1)];
    if (!takes(type.dtype)) throw mismatch(node, `input "${node.inputs[i]}" is ${type.dtype}; expected ${words}.`);
    if (!isOfRank[rank](type.shape))
      throw mismatch(node, `input "${node.inputs[i]}" has the shape ${printShape(type.shape)}; expected ${rank}.`);
    if (!isTied) return;
    if (first < 0) first = i;
    const other = types[first]?.dtype;
    if (other !== type.dtype)
      throw mismatch(
        node,
        `inputs "${node.inputs[first]}" (${other}) and "${node.inputs[i]}" (${type.dtype}) differ in type; expected one type.`,
      );
  });
}

function checkCount(node: Node, schema: readonly InputSchema[]): void {
  const last = schema.at(-1);
  const count = node.inputs.length;
  if (count > schema.length && !last?.isRepeated)
    throw new FrostbitError(
      "BAD_MODEL",
      `${describeNode(node)}: it has ${count} inputs; expected ${schema.length}${schema.some(({ isOptional }) => isOptional) ? " at most" : ""}.`,
    );
  for (let i = 0; i < Math.max(count, schema.length); i++)
    if (!node.inputs[i] && !(schema[i] ?? last).isOptional)
      throw new FrostbitError("BAD_MODEL", `${describeNode(node)}: input ${i} is missing; it is required.`);
}
