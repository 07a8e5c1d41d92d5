// Dense tensors, row-major.

import { type DType, dtypes, type NumberArray, type TypedArray } from "./dtype.ts";
import { assert } from "./errors.ts";

/** A dense array of numbers or booleans; a scalar has shape []. */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /**
   * Row-major, of the array that belongs to `dtype`: float32 in a Float32Array, int64 in a BigInt64Array, bool in a Uint8Array.
   * Of a tensor that stays in its file, every use reads it: take it once, and the number of elements from `shape`.
   */
  readonly data: TypedArray;
  /** Bits that an element takes in the file, where these are fewer than its type's. */
  readonly fileBits?: number;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** A tensor around an array, which is not copied. Throws where the array has another number of elements than the shape. */
export function tensor(dtype: DType, shape: readonly number[], data: TypedArray): Tensor {
  assert(data.length === sizeOf(shape), `tensor of shape [${shape}] given ${data.length} elements`);
  return { dtype, shape, data };
}

export function allocate(dtype: DType, length: number): TypedArray {
  return new dtypes[dtype].array(length);
}

export const zeros = (dtype: DType, shape: readonly number[]): Tensor =>
  tensor(dtype, shape, allocate(dtype, sizeOf(shape)));

/** A tensor from plain numbers, rounded to `dtype` as its array rounds. */
export function tensorOf(dtype: DType, shape: readonly number[], values: ArrayLike<number>): Tensor {
  const result = zeros(dtype, shape);
  assert(values.length === result.data.length, `tensor of shape [${shape}] given ${values.length} values`);
  if (result.data instanceof BigInt64Array || result.data instanceof BigUint64Array) {
    for (let i = 0; i < values.length; i++) result.data[i] = BigInt(values[i]);
  } else {
    for (let i = 0; i < values.length; i++) result.data[i] = values[i];
  }
  return result;
}

export const scalar = (dtype: DType, value: number): Tensor => tensorOf(dtype, [], [value]);

/** The same tensor in its own memory. */
export const copyTensor = ({ dtype, shape, data }: Tensor): Tensor => ({
  dtype,
  shape: [...shape],
  data: data.slice(),
});

/** The elements as numbers; 64-bit integers lose precision beyond 2^53, float16 and bfloat16 must be converted first. */
export function toNumbers(t: Tensor): number[] {
  return Array.from(t.data as ArrayLike<number | bigint>, Number);
}

/** The array of a tensor whose elements are plain numbers. */
export function numbersOf(t: Tensor): NumberArray {
  const { data } = t;
  assert(!(data instanceof BigInt64Array || data instanceof BigUint64Array), `numbersOf a tensor of ${t.dtype}`);
  return data;
}

/** The same elements converted to another element type; not for float16 and bfloat16 (see half.ts). */
export function castTensor(t: Tensor, dtype: DType): Tensor {
  if (t.dtype === dtype) return t;
  const { data } = t;
  const isBig = data instanceof BigInt64Array || data instanceof BigUint64Array;
  return tensorOf(dtype, t.shape, isBig ? Array.from(data, Number) : data);
}
