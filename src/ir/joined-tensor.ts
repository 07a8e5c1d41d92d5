// Tensors whose elements are pieces of several arrays, one after the other, joined only where somebody reads them as one array.
import type { DType, TypedArray } from "./dtype.ts";
import { allocate, sizeOf, type Tensor } from "./tensor.ts";

/** Pieces of one size. */
export interface Pieces {
  /** Each holds as many pieces, but for the last. */
  readonly arrays: readonly TypedArray[];
  /** Elements of a piece. */
  readonly size: number;
  /** By piece of the tensor, which piece of the arrays it is, counted over all of them; one may come several times. */
  readonly places: Int32Array;
  /** Where each piece is an image whose channels lie last, how many they are; absent: pieces are in the order of the tensor. */
  readonly channels?: number | undefined;
}

interface Parts extends Pieces {
  /** Called at the first use of `data`; absent: gives a new array. */
  readonly join?: () => TypedArray;
}

const joined = new WeakMap<Tensor, Parts>();

/** Nobody changes the arrays while somebody has the tensor. */
export function joinedTensor(dtype: DType, shape: readonly number[], parts: Parts): Tensor {
  let data: TypedArray | undefined;
  const once = (): TypedArray => {
    data ??= parts.join?.() ?? joinPieces(parts, allocate(dtype, sizeOf(shape)));
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

/** A piece of the arrays. */
export function pieceOf({ arrays, size }: Pieces, place: number): TypedArray {
  const perArray = Math.floor(arrays[0].length / size);
  const start = (place % perArray) * size;
  return arrays[Math.floor(place / perArray)].subarray(start, start + size);
}

/** All pieces one after the other, in the order of the tensor; gives `to`. */
export function joinPieces(pieces: Pieces, to: TypedArray): TypedArray {
  const { size, places, channels } = pieces;
  for (const [i, place] of places.entries()) {
    const piece = pieceOf(pieces, place);
    if (channels === undefined) (to as Float32Array).set(piece as Float32Array, i * size);
    else putChannelsFirst(piece, channels, to, i * size);
  }
  return to;
}

function putChannelsFirst(image: TypedArray, channels: number, to: TypedArray, start: number): void {
  const plane = image.length / channels;
  for (let pixel = 0, from = 0; pixel < plane; pixel++)
    for (let channel = 0; channel < channels; channel++) to[start + channel * plane + pixel] = image[from++];
}

/** What the elements are in, where they are not in one array. */
export const piecesOf = (t: Tensor): Pieces | undefined => joined.get(t);

/** The same elements in another shape of as many. */
export function withShape(t: Tensor, shape: readonly number[]): Tensor {
  const parts = joined.get(t);
  return parts ? joinedTensor(t.dtype, shape, parts) : { dtype: t.dtype, shape, data: t.data };
}
