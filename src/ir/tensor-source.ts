// Tensors whose elements stay where they are stored until they are used.
import { type DType, dtypes, type TypedArray } from "./dtype.ts";
import type { Tensor } from "./tensor.ts";

/** Bytes that are read in parts, so that they may be more than memory holds: a file, or an array. */
export interface ByteSource {
  readonly sizeBytes: number;
  /** `length` bytes from `offset` on, both within the source. Nobody changes what it gives. */
  read(offset: number, length: number): Uint8Array;
}

export const bytesSource = (bytes: Uint8Array): ByteSource => ({
  sizeBytes: bytes.length,
  read: (offset, length) => bytes.subarray(offset, offset + length),
});

/** Smaller tensors are read with the model: passes look at shapes, scales and biases again and again. */
export const minStoredBytes = 64 * 1024;

const stored = new WeakSet<Tensor>();

/** A tensor that keeps nothing: every use of `data` calls `read`, so that a user takes it once and lets it go. */
export function storedTensor(
  dtype: DType,
  shape: readonly number[],
  read: () => TypedArray,
  fileBits?: number,
): Tensor {
  const result: Tensor = {
    dtype,
    shape,
    ...(fileBits !== undefined && { fileBits }),
    get data() {
      return read();
    },
  };
  stored.add(result);
  return result;
}

/** The tensor whose elements take so many bits in the file. */
export const withFileBits = (t: Tensor, fileBits: number): Tensor =>
  isStored(t) ? storedTensor(t.dtype, t.shape, () => t.data, fileBits) : { ...t, fileBits };

/** Whether the elements are read whenever they are used. */
export const isStored = (t: Tensor): boolean => stored.has(t);

/** The tensor in memory: what reads its elements again and again calls this first. */
export const loaded = (t: Tensor): Tensor => (isStored(t) ? { dtype: t.dtype, shape: t.shape, data: t.data } : t);

/** The tensor in memory from its first use on. */
export function loadedOnUse(t: Tensor): Tensor {
  if (!isStored(t)) return t;
  let data: TypedArray | undefined;
  return {
    dtype: t.dtype,
    shape: t.shape,
    get data() {
      data ??= t.data;
      return data;
    },
  };
}

/** Little-endian elements as an array: the same memory where it is aligned, else a copy. */
export function elementsOf(bytes: Uint8Array, dtype: DType, count: number): TypedArray {
  const { array } = dtypes[dtype];
  const isAligned = bytes.byteOffset % array.BYTES_PER_ELEMENT === 0;
  const { buffer, byteOffset } = isAligned ? bytes : new Uint8Array(bytes);
  return new array(buffer as ArrayBuffer, byteOffset, count);
}
