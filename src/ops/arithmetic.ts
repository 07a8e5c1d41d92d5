// Short names for the operators that gradient rules are made of.

import type { Builder } from "../ir/builder.ts";
import { type DType, isFloat } from "../ir/dtype.ts";
import { isStatic } from "./dims.ts";

export interface Arithmetic {
  readonly add: (a: string, b: string) => string;
  readonly sub: (a: string, b: string) => string;
  readonly mul: (...factors: readonly string[]) => string;
  readonly div: (a: string, b: string) => string;
  readonly neg: (a: string) => string;
  readonly where: (condition: string, a: string, b: string) => string;
  readonly cast: (a: string, dtype: DType) => string;
  /** Any other operator without attributes. */
  readonly call: (op: string, ...inputs: readonly string[]) => string;
  /** A constant of the gradient's dtype. */
  readonly of: (value: number) => string;
}

/** `like` is a value of the dtype that constants take. */
export function arithmetic(build: Builder, like: string): Arithmetic {
  const call: Arithmetic["call"] = (op, ...inputs) => build.node(op, inputs);
  return {
    add: (a, b) => call("Add", a, b),
    sub: (a, b) => call("Sub", a, b),
    mul: (first, ...rest) => rest.reduce((product, factor) => call("Mul", product, factor), first),
    div: (a, b) => call("Div", a, b),
    neg: (a) => call("Neg", a),
    where: (condition, a, b) => call("Where", condition, a, b),
    cast: (a, dtype) => (build.type(a).dtype === dtype ? a : build.node("Cast", [a], { to: dtype })),
    call,
    of: (value) => build.scalar(value, like),
  };
}

/** The shape of a value as a 1-D int64 value: a constant where all sizes are numbers. */
export function shapeOf(build: Builder, value: string): string {
  const { shape } = build.type(value);
  return isStatic(shape) ? build.ints(shape) : build.node("Shape", [value]);
}

/** Zeros of the shape of `value`. */
export function zerosLike(build: Builder, value: string): string {
  const { dtype } = build.type(value);
  return build.node("Expand", [build.scalar(0, isFloat(dtype) ? value : undefined), shapeOf(build, value)]);
}
