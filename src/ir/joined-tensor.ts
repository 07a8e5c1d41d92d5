// Tensors whose elements are several arrays, one after the other, joined only where somebody reads them as one.
import type { DType, TypedArray } from "./dtype.ts";
import type { Tensor } from "./tensor.ts";

interface Parts {
  readonly pieces: readonly TypedArray[];
  readonly join: () => TypedArray;
}

const joined = new WeakMap<Tensor, Parts>();

/** Nobody changes the pieces while somebody has the tensor; `join` is called at the first use of `data`. */
export function joinedTensor(dtype: DType, shape: readonly number[], { pieces, join }: Parts): Tensor {
  let data: TypedArray | undefined;
  const once = (): TypedArray => {
    data ??= join();
    return data;
  };
  const result: Tensor = {
    dtype,
    shape,
    get data() {
      return once();
    },
  };
  joined.set(result, { pieces, join: once });
  return result;
}

/** What the elements are in, where they are not in one array. */
export const piecesOf = (t: Tensor): readonly TypedArray[] | undefined => joined.get(t)?.pieces;

/** The same elements in another shape of as many. */
export function withShape(t: Tensor, shape: readonly number[]): Tensor {
  const parts = joined.get(t);
  return parts ? joinedTensor(t.dtype, shape, parts) : { dtype: t.dtype, shape, data: t.data };
}
