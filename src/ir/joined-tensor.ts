// Tensors whose elements are pieces of several arrays, one after the other, joined only where somebody reads them as one array.
import type { DType, TypedArray } from "./dtype.ts";
import type { Tensor } from "./tensor.ts";

/** Pieces of one size. */
export interface Pieces {
  /** Each holds as many pieces, but for the last. */
  readonly arrays: readonly TypedArray[];
  /** Elements of a piece. */
  readonly size: number;
  /** By piece of the tensor, which piece of the arrays it is, counted over all of them; one may come several times. */
  readonly places: Int32Array;
}

interface Parts extends Pieces {
  readonly join: () => TypedArray;
}

const joined = new WeakMap<Tensor, Parts>();

/** Nobody changes the arrays while somebody has the tensor; `join` is called at the first use of `data`. */
export function joinedTensor(dtype: DType, shape: readonly number[], parts: Parts): Tensor {
  let data: TypedArray | undefined;
  const once = (): TypedArray => {
    data ??= parts.join();
    return data;
  };
  const result: Tensor = {
    dtype,
    shape,
    get data() {
      return once();
    },
  };
  joined.set(result, { ...parts, join: once });
  return result;
}

/** What the elements are in, where they are not in one array. */
export const piecesOf = (t: Tensor): Pieces | undefined => joined.get(t);

/** The same elements in another shape of as many. */
export function withShape(t: Tensor, shape: readonly number[]): Tensor {
  const parts = joined.get(t);
  return parts ? joinedTensor(t.dtype, shape, parts) : { dtype: t.dtype, shape, data: t.data };
}
