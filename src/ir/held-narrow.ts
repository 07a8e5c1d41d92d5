// Whole numbers of a byte each, held in fewer bits where all of them fit in fewer.
import { type DType, dtypes } from "./dtype.ts";
import { pack, unpack } from "./packing.ts";

const narrow = ["uint2", "int2", "uint4", "int4"] as const satisfies readonly DType[];

/** What gives the numbers whenever it is called: in an array of its own where they are held in fewer bits. */
export function heldNarrow(codes: Int8Array | Uint8Array): () => Int8Array | Uint8Array {
  let [low, high] = [0, 0];
  for (const code of codes) {
    low = Math.min(low, code);
    high = Math.max(high, code);
  }
  const type = narrow.find((dtype) => {
    const { bits, array } = dtypes[dtype];
    const least = array === Int8Array ? -(2 ** (bits - 1)) : 0;
    return array === codes.constructor && low >= least && high < least + 2 ** bits;
  });
  return type === undefined ? () => codes : unpacking(type, pack(type, codes), codes.length);
}

/** A function of its own: what two closures of one function read, either keeps. */
const unpacking =
  (type: DType, bytes: Uint8Array, count: number): (() => Int8Array | Uint8Array) =>
  () =>
    unpack(type, bytes, count);
