// Whole numbers of 8 bits at most, held in as few as all of them fit in.
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

type Bytes = Int8Array | Uint8Array;

/**
 * What gives the numbers as bytes whenever it is called: in an array of its own where they are held in fewer bits. Bytes stay of
 * their kind; others become bytes with a sign where one of them is negative.
 */
export const heldNarrow = (numbers: ArrayLike<number>): (() => Bytes) => held(numbers).read;

/** The same as a tensor, which keeps nothing else. */
export function heldCodes(numbers: ArrayLike<number>, shape: readonly number[]): Tensor {
  const { dtype, read } = held(numbers);
  return storedTensor(dtype, shape, read);
}

function held(numbers: ArrayLike<number>): { readonly dtype: "int8" | "uint8"; readonly read: () => Bytes } {
  let [low, high] = [numbers instanceof Int8Array ? -1 : 0, 0];
  for (let i = 0; i < numbers.length; i++) {
    const number = numbers[i];
    if (number < low) low = number;
    else if (number > high) high = number;
  }
  const type = narrowestType(low, high);
  const isBytes = numbers instanceof Int8Array || numbers instanceof Uint8Array;
  const codes = isBytes ? numbers : low < 0 ? new Int8Array(numbers) : new Uint8Array(numbers);
  const read = isPacked(type) ? unpacking(type, pack(type, codes), codes.length) : () => codes;
  return { dtype: low < 0 ? "int8" : "uint8", read };
}

/** A function of its own: what two closures of one function read, either keeps. */
const unpacking =
  (type: DType, bytes: Uint8Array, count: number): (() => Bytes) =>
  () =>
    unpack(type, bytes, count);
