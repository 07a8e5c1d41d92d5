// Narrow integers in words of 32 bits, without gaps: the first in the lowest bits, and some across two words.
import { type Tensor, tensor } from "../../ir/tensor.ts";

const wordsFor = (count: number, bits: number): number => Math.ceil((count * bits) / 32);

/** Each row of `length` integers in words of its own, int32 [rows, words]; zeros fill the last. */
export function packWords(integers: Uint8Array, length: number, bits: number): Tensor {
  const rows = integers.length / length;
  const width = wordsFor(length, bits);
  const words = new Int32Array(rows * width);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < length; i++) {
      const q = integers[row * length + i];
      const bit = i * bits;
      const at = row * width + (bit >> 5);
      const shift = bit & 31;
      words[at] |= q << shift;
      if (shift + bits > 32) words[at + 1] |= q >>> (32 - shift);
    }
  return tensor("int32", [rows, width], words);
}

/** A matrix [rows, columns] of bytes as [columns, rows]. */
export function transposedBytes(bytes: Uint8Array, columns: number): Uint8Array {
  const rows = bytes.length / columns;
  const result = new Uint8Array(bytes.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) result[column * rows + row] = bytes[row * columns + column];
  return result;
}
