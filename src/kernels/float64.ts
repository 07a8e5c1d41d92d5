// Kernels compute in float64 and round once, to the dtype of their result.
import type { DType } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { describeNode, type Node } from "../ir/graph.ts";
import { type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";

const isHalf = (dtype: DType): boolean => dtype === "float16" || dtype === "bfloat16";

function assertNotHalf(dtype: DType, node: Node): void {
  if (!isHalf(dtype)) return;
  throw new FrostbitError(
    "UNSUPPORTED_OP",
    `The reference engine cannot run ${describeNode(node)} in ${dtype}. Cast the model to float32 first.`,
  );
}

/** The elements as float64: the tensor's own array where it is one, else a copy. */
export function float64Of(value: Tensor, node: Node): Float64Array {
  assertNotHalf(value.dtype, node);
  if (value.data instanceof Float64Array) return value.data;
  if (value.data instanceof BigInt64Array || value.data instanceof BigUint64Array)
    return Float64Array.from(toNumbers(value));
  return Float64Array.from(value.data);
}

/** A tensor of float64 results rounded to `dtype`. */
export function fromFloat64(dtype: DType, shape: readonly number[], data: Float64Array, node: Node): Tensor {
  assertNotHalf(dtype, node);
  return dtype === "float64" ? { dtype, shape, data } : tensorOf(dtype, shape, data);
}

/** The rounding of float32 arithmetic, or none for float64. */
export const rounding = (dtype: DType): ((value: number) => number) =>
  dtype === "float64" ? (value) => value : Math.fround;
