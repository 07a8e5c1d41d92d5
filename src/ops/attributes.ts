// Typed access to a node's attributes, and the error of a shape rule.
import { FrostbitError } from "../ir/errors.ts";
import { type Attribute, describeNode, type Node } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";

function typed<T extends Attribute>(
  node: Node,
  name: string,
  what: string,
  is: (value: Attribute) => value is T,
): T | undefined {
  const value = node.attributes[name];
  if (value === undefined) return undefined;
  if (!is(value))
    throw new FrostbitError(
      "BAD_MODEL",
      `${describeNode(node)}: attribute "${name}" is ${JSON.stringify(value)}; expected ${what}.`,
    );
  return value;
}
const isNumber = (value: Attribute): value is number => typeof value === "number";
const isString = (value: Attribute): value is string => typeof value === "string";
const isNumbers = (value: Attribute): value is readonly number[] =>
  Array.isArray(value) && value.every((v) => typeof v === "number");
const isTensor = (value: Attribute): value is Tensor => typeof value === "object" && "dtype" in value;

export function numberAttribute(node: Node, name: string): number | undefined;
export function numberAttribute(node: Node, name: string, fallback: number): number;
export function numberAttribute(node: Node, name: string, fallback?: number): number | undefined {
  return typed(node, name, "a number", isNumber) ?? fallback;
}

export function stringAttribute(node: Node, name: string, fallback: string): string {
  return typed(node, name, "a string", isString) ?? fallback;
}

/** One of the texts that ONNX knows there. */
export function choiceAttribute<T extends string>(
  node: Node,
  name: string,
  [fallback, ...others]: readonly [T, ...T[]],
): T {
  const value = stringAttribute(node, name, fallback);
  const found = [fallback, ...others].find((choice) => choice === value);
  if (found !== undefined) return found;
  throw mismatch(node, `${name} is "${value}"; expected ${[fallback, ...others].join(", ")}.`);
}

export function numbersAttribute(node: Node, name: string): readonly number[] | undefined;
export function numbersAttribute(node: Node, name: string, fallback: readonly number[]): readonly number[];
export function numbersAttribute(
  node: Node,
  name: string,
  fallback?: readonly number[],
): readonly number[] | undefined {
  return typed(node, name, "a list of numbers", isNumbers) ?? fallback;
}

export const tensorAttribute = (node: Node, name: string): Tensor | undefined =>
  typed(node, name, "a tensor", isTensor);

/** A SHAPE_MISMATCH error: `Conv (node "/a"): <what>`. */
export const mismatch = (node: Node, what: string): FrostbitError =>
  new FrostbitError("SHAPE_MISMATCH", `${describeNode(node)}: ${what}`);

/** An UNSUPPORTED_OP error for a form of an operator that we do not handle. */
export const unsupported = (node: Node, what: string): FrostbitError =>
  new FrostbitError("UNSUPPORTED_OP", `${describeNode(node)}: ${what}`);

/** `[8, 128, 768]`, as messages print shapes. */
export const printShape = (shape: readonly (number | string)[]): string => `[${shape.join(", ")}]`;
