// Elements of 2, 4 and 8 bits, as files hold them: the first in the lowest bits, the last byte padded with 0.
import { type DType, dtypes, packedBytes } from "./dtype.ts";
import { allocate } from "./tensor.ts";

/** Whether files hold several elements of this type in a byte. */
export const isPacked = (dtype: DType): boolean => dtypes[dtype].bits < 8;

/** One element per byte → several. */
export function pack(dtype: DType, data: Int8Array | Uint8Array): Uint8Array<ArrayBuffer> {
  const { bits } = dtypes[dtype];
  const [places, mask] = [Math.log2(8 / bits), 2 ** bits - 1];
  const result = new Uint8Array(packedBytes(dtype, data.length));
  for (let i = 0; i < data.length; i++) result[i >>> places] |= (data[i] & mask) << (bits * (i & (8 / bits - 1)));
  return result;
}

/** Several elements per byte → one. */
export function unpack(dtype: DType, bytes: Uint8Array, count: number): Int8Array | Uint8Array {
  const { bits, array } = dtypes[dtype];
  const [places, mask] = [Math.log2(8 / bits), 2 ** bits - 1];
  const shift = array === Int8Array ? 32 - bits : 0; // moves the sign bit to the top and back
  const result = allocate(dtype, count) as Int8Array | Uint8Array;
  for (let i = 0; i < count; i++) {
    const element = (bytes[i >>> places] >> (bits * (i & (8 / bits - 1)))) & mask;
    result[i] = (element << shift) >> shift;
  }
  return result;
}
