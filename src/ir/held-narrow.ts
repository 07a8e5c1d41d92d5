// Whole numbers of a byte each, held in fewer bits where all of them fit in fewer.
import { type DType, dtypes } from "./dtype.ts";
import { assert } from "./errors.ts";
import { isPacked, pack, unpack } from "./packing.ts";
import type { Tensor } from "./tensor.ts";
import { storedTensor } from "./tensor-source.ts";

const narrow = ["uint2", "int2", "uint4", "int4"] as const satisfies readonly DType[];
const bytes = ["uint8", "int8"] as const satisfies readonly DType[];

/** The narrowest type of at most 8 bits that holds all whole numbers from `low`, 0 or less, to `high`; where none is negative, one without a sign. */
export function narrowestType(low: number, high: number): DType {
  const found = [...narrow, ...bytes].find((dtype) => {
    const { bits, array } = dtypes[dtype];
    const isSigned = array === Int8Array;
    const least = isSigned ? -(2 ** (bits - 1)) : 0;
    return isSigned === low < 0 && low >= least && high < least + 2 ** bits;
  });
  assert(found, `no type of 8 bits holds ${low} to ${high}`);
  return found;
}

/** What gives the numbers whenever it is called: in an array of its own where they are held in fewer bits. */
export function heldNarrow(codes: Int8Array | Uint8Array): () => Int8Array | Uint8Array {
  let [low, high] = [0, 0];
  for (const code of codes) {
    low = Math.min(low, code);
    high = Math.max(high, code);
  }
  const type = narrowestType(codes instanceof Int8Array ? Math.min(low, -1) : low, high);
  return isPacked(type) ? unpacking(type, pack(type, codes), codes.length) : () => codes;
}

/** The same as a tensor, which keeps nothing else. */
export const heldCodes = (codes: Int8Array | Uint8Array, shape: readonly number[]): Tensor =>
  storedTensor(codes instanceof Int8Array ? "int8" : "uint8", shape, heldNarrow(codes));

/** A function of its own: what two closures of one function read, either keeps. */
const unpacking =
  (type: DType, bytes: Uint8Array, count: number): (() => Int8Array | Uint8Array) =>
  () =>
    unpack(type, bytes, count);
