// Examples of operators as data: those of ONNX are run against ONNX Runtime, and gradients against finite differences.
import type { Attribute, Node } from "../../../src/ir/graph.ts";
import { type Tensor, tensorOf } from "../../../src/ir/tensor.ts";
import { createRandom, type Random } from "../../support/random.ts";

export interface Form {
  /** float64 inputs are the ones that gradients are asked of. */
  readonly inputs: readonly (Tensor | undefined)[];
  readonly attributes?: Node["attributes"];
  /** How many outputs the node has, by default 1. */
  readonly outputs?: number;
  /** Outputs that a cotangent reaches, by default the first. */
  readonly cotangents?: readonly number[];
  /** Inputs whose gradients are checked, by default every float64 one. */
  readonly wanted?: readonly number[];
  /** What this example is for, where the operator has several. */
  readonly name?: string;
}

/** The examples of one operator: at least one. */
export type Forms = readonly [Form, ...Form[]];

export interface Example extends Form {
  readonly op: string;
}

const print = (value: Attribute): string =>
  typeof value === "object" && "dtype" in value ? `${value.dtype} [${value.shape}]` : JSON.stringify(value);

export function titleOf({ op, name, attributes = {} }: Example): string {
  const listed = Object.entries(attributes).map(([key, value]) => `${key}=${print(value)}`);
  return [op, ...(name === undefined ? [] : [name]), ...listed].join(", ");
}

export const int64 = (...values: number[]): Tensor => tensorOf("int64", [values.length], values);
export const int64Scalar = (value: number): Tensor => tensorOf("int64", [], [value]);
export const bool = (shape: readonly number[], values: readonly number[]): Tensor => tensorOf("bool", shape, values);

/** Draws for one family's examples. */
export interface Draw {
  readonly random: Random;
  readonly normal: (...shape: number[]) => Tensor;
  /** From 0.5 to 2. */
  readonly positive: (...shape: number[]) => Tensor;
  /** int64, from -9 to 8. */
  readonly integers: (...shape: number[]) => Tensor;
}

export function draw(seed: number): Draw {
  const random = createRandom(seed);
  return {
    random,
    normal: (...shape) => random.tensor("float64", shape),
    positive: (...shape) => random.uniformTensor("float64", shape, 0.5, 2),
    integers: (...shape) => random.integerTensor("int64", shape, -9, 9),
  };
}
