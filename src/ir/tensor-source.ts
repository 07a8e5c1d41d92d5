// Tensors whose elements stay where they are stored until they are used.
import { type DType, dtypes, type TypedArray } from "./dtype.ts";
import { sizeOf, type Tensor } from "./tensor.ts";

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

/** Elements of a tensor from `start` on, up to `end`. */
type ReadPart = (start: number, end: number) => TypedArray;

const partReaders = new WeakMap<Tensor, ReadPart>();

/** A stored tensor of which some elements can be read without the others. */
export function storedInParts(dtype: DType, shape: readonly number[], read: ReadPart): Tensor {
  const result = storedTensor(dtype, shape, () => read(0, sizeOf(shape)));
  partReaders.set(result, read);
  return result;
}

export const partReader = (t: Tensor): ReadPart | undefined => partReaders.get(t);

/** What is read of a tensor at once. */
const partBytes = 2 ** 22;

/** A tensor's elements in order: as one array, or of one that can be read so in parts that are made one after the other. */
export function* elementsInParts(t: Tensor): Generator<TypedArray, void, undefined> {
  const read = partReader(t);
  if (!read) return yield t.data;
  const [count, most] = [sizeOf(t.shape), partBytes / dtypes[t.dtype].array.BYTES_PER_ELEMENT];
  for (let start = 0; start < count; start += most) yield read(start, Math.min(count, start + most));
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
