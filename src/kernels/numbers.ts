// Tensors' elements as plain numbers, half precision included, and back.
import type { DType } from "../ir/dtype.ts";
import { allocate, type Tensor } from "../ir/tensor.ts";

export const isBig = (x: Tensor): boolean => x.data instanceof BigInt64Array || x.data instanceof BigUint64Array;

/** The elements as numbers, without copying where they are numbers already. */
export function asNumbers(x: Tensor): ArrayLike<number> {
  if (!isBig(x)) return x.data as ArrayLike<number>;
  return Float64Array.from(x.data as BigInt64Array, Number);
}

const int64Limit = 2 ** 63;

/** 64-bit integers saturate instead of wrapping round. */
function toBig(value: number): bigint {
  if (value >= int64Limit) return 2n ** 63n - 1n;
  if (value <= -int64Limit) return -(2n ** 63n);
  return BigInt(Number.isNaN(value) ? 0 : Math.trunc(value));
}

export function fromNumbers(dtype: DType, shape: readonly number[], values: ArrayLike<number>): Tensor {
  const data = allocate(dtype, values.length);
  if (data instanceof BigInt64Array || data instanceof BigUint64Array)
    for (let i = 0; i < values.length; i++) data[i] = toBig(values[i]);
  else for (let i = 0; i < values.length; i++) data[i] = values[i];
  return { dtype, shape, data };
}
