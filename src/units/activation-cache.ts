// A cache of values by sample: in memory up to a limit, in a storage beyond it.
import type { Storage } from "../data/storage.ts";
import { type DType, dtypes, type TypedArray } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { toFloat16, widenInto } from "../ir/half.ts";
import { joinedTensor, joinPieces, type Pieces, pieceOf, piecesOf } from "../ir/joined-tensor.ts";
import { allocate, sizeOf, type Tensor } from "../ir/tensor.ts";

export interface CacheOptions {
  /** Holds what goes beyond the memory. Of the cache alone: files of an earlier one that was not disposed of are removed. */
  readonly storage: Storage;
  /** How much may stay in memory, besides a chunk of each value that is being filled. */
  readonly memoryBytes: number;
  /** How float32 values are kept; values of other types are kept as they are. */
  readonly floats: "float32" | "float16";
}

/** Values of many samples under names. The first axis of what goes in and comes out is the samples. */
export interface ActivationCache {
  /** Adds samples, or the first `count`, to those of `name`; all have the same type and shape. */
  append(name: string, samples: Tensor, count?: number): Promise<void>;
  /** How many samples there are of `name`. */
  count(name: string): number;
  /**
   * Samples of `name` in the order of `indices`, which may hold one several times. Where they are read as one array, they are joined in
   * that of `spare`.
   */
  read(name: string, indices: ArrayLike<number>, spare?: SpareArrays): Promise<Tensor>;
  /** Whether reading samples of `name` takes no memory: they lie there, kept as they were given. */
  isInPlace(name: string): boolean;
  /** Forgets `name`, and removes its files. */
  drop(name: string): Promise<void>;
  /** Bytes by where they are. */
  size(): { readonly memoryBytes: number; readonly storedBytes: number };
  /** Forgets everything, and removes all files. */
  dispose(): Promise<void>;
}

/** By name, arrays that nobody reads any more: what is read next is written there, and stays there. */
export type SpareArrays = Map<string, TypedArray>;

/** Chunks are read and written whole: large enough for a disk, small enough for samples in any order. */
const chunkBytes = 1024 * 1024;
const filePrefix = "activations-";

/** Of samples that follow each other. */
interface Chunk {
  readonly bytes: number;
  /** In memory; absent: in the file. */
  readonly data?: TypedArray;
  readonly file: string;
}

interface Column {
  readonly id: number;
  readonly given: DType;
  readonly kept: DType;
  /** Of a sample. */
  readonly shape: readonly number[];
  /** Where samples are images whose channels lie last, how many they are. */
  readonly channels: number | undefined;
  readonly samplesPerChunk: number;
  readonly chunks: Chunk[];
  /** The chunk that is being filled, and how many samples it has. */
  filling: TypedArray | undefined;
  filled: number;
}

/** Throws IO where the storage cannot be written or read. */
export async function openActivationCache(options: CacheOptions): Promise<ActivationCache> {
  const { storage, memoryBytes } = options;
  for (const name of await storage.list()) if (name.startsWith(filePrefix)) await storage.remove(name);
  const columns = new Map<string, Column>();
  /** Of chunks that were dropped: the next ones are written there, instead of into memory that has to be cleared first. */
  const free: TypedArray[] = [];
  let columnCount = 0;
  const bytesOf = (isInMemory: boolean): number =>
    [...columns.values()]
      .flatMap(({ chunks }) => chunks)
      .filter(({ data }) => (data !== undefined) === isInMemory)
      .reduce((sum, { bytes }) => sum + bytes, 0);

  const columnFor = (name: string, samples: Tensor): Column => {
    const known = columns.get(name);
    const column = known ?? newColumn(columnCount++, samples, options.floats);
    if (known === undefined) columns.set(name, column);
    const [, ...shape] = samples.shape;
    assert(
      samples.dtype === column.given && String(shape) === String(column.shape),
      `samples of "${name}" are ${samples.dtype} [${shape}] after ${column.given} [${column.shape}]`,
    );
    assert(channelsLastIn(samples) === column.channels, `samples of "${name}" lie in another order than those before`);
    return column;
  };
  const closeChunk = async (name: string, column: Column, data: TypedArray): Promise<void> => {
    const file = `${filePrefix}${column.id}-${column.chunks.length}.bin`;
    const bytes = data.byteLength;
    const spare = free.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (bytesOf(true) + spare + bytes > memoryBytes) free.length = 0;
    if (bytesOf(true) + bytes <= memoryBytes) {
      column.chunks.push({ bytes, data, file });
      return;
    }
    try {
      await storage.write(file, new Uint8Array(data.buffer, data.byteOffset, bytes));
    } catch (cause) {
      throw cannotStore(name, bytesOf(false), options, cause);
    }
    column.chunks.push({ bytes, file });
  };
  const read = async (name: string, indices: ArrayLike<number>, spare?: SpareArrays): Promise<Tensor> => {
    const column = columns.get(name);
    assert(column, `the cache has no "${name}"`);
    return gather({ name, column, storage }, indices, spare);
  };
  const drop = async (name: string): Promise<void> => {
    const { chunks = [] } = columns.get(name) ?? {};
    columns.delete(name);
    for (const { data, file } of chunks)
      if (data === undefined) await storage.remove(file);
      else free.push(data);
  };
  const newChunk = ({ kept, samplesPerChunk, shape }: Column): TypedArray => {
    const length = samplesPerChunk * sizeOf(shape);
    const at = free.findIndex((data) => data instanceof dtypes[kept].array && data.length === length);
    return at < 0 ? allocate(kept, length) : free.splice(at, 1)[0];
  };
  return {
    append: async (name, samples, count = samples.shape[0]) => {
      const column = columnFor(name, samples);
      const size = sizeOf(column.shape);
      const sampleAt = samplesIn(samples, size);
      for (let sample = 0; sample < count; sample++) {
        column.filling ??= newChunk(column);
        const own = sampleAt(sample);
        if (column.given === column.kept) copy(own, column.filling, column.filled * size);
        else keepHalf(name, own as Float32Array, column.filling as Uint16Array, column.filled * size);
        column.filled++;
        if (column.filled < column.samplesPerChunk) continue;
        await closeChunk(name, column, column.filling);
        column.filling = undefined;
        column.filled = 0;
      }
    },
    count: (name) => {
      const column = columns.get(name);
      return column ? column.chunks.length * column.samplesPerChunk + column.filled : 0;
    },
    isInPlace: (name) => {
      const column = columns.get(name);
      assert(column, `the cache has no "${name}"`);
      return column.given === column.kept && column.chunks.every(({ data }) => data !== undefined);
    },
    read,
    drop,
    size: () => ({ memoryBytes: bytesOf(true), storedBytes: bytesOf(false) }),
    dispose: async () => {
      for (const name of [...columns.keys()]) await drop(name);
      free.length = 0;
    },
  };
}

/** Samples as they lie in the tensor's arrays, where they are pieces of these. */
function samplesIn(samples: Tensor, size: number): (sample: number) => TypedArray {
  const pieces = piecesOf(samples);
  if (pieces?.size === size) return (sample) => pieceOf(pieces, pieces.places[sample]);
  const { data } = samples;
  return (sample) => data.subarray(sample * size, (sample + 1) * size);
}

/** How many channels lie last in each sample. */
function channelsLastIn(samples: Tensor): number | undefined {
  const pieces = piecesOf(samples);
  return pieces?.size === sizeOf(samples.shape.slice(1)) ? pieces.channels : undefined;
}

function newColumn(id: number, samples: Tensor, floats: CacheOptions["floats"]): Column {
  const {
    dtype,
    shape: [, ...shape],
  } = samples;
  const kept = dtype === "float32" ? floats : dtype;
  const sampleBytes = sizeOf(shape) * dtypes[kept].array.BYTES_PER_ELEMENT;
  const samplesPerChunk = Math.max(1, Math.floor(chunkBytes / Math.max(1, sampleBytes)));
  return {
    id,
    given: dtype,
    kept,
    shape,
    channels: channelsLastIn(samples),
    samplesPerChunk,
    chunks: [],
    filling: undefined,
    filled: 0,
  };
}

const [infiniteHalf, maxHalf] = [0x7c00, 65504];

/** Throws BAD_DATA where a number is beyond what float16 holds. */
function keepHalf(name: string, sample: Float32Array, bits: Uint16Array, at: number): void {
  if (!toFloat16(sample, bits, at)) return;
  for (let i = 0; i < sample.length; i++)
    if ((bits[at + i] & 0x7fff) === infiniteHalf && Number.isFinite(sample[i]))
      throw new FrostbitError(
        "BAD_DATA",
        `Activation "${name}" reaches ${sample[i]}, beyond float16's ${maxHalf}. Keep activations in float32.`,
      );
}

const copy = (from: TypedArray, to: TypedArray, at: number): void => (to as Float32Array).set(from as Float32Array, at);

function cannotStore(
  name: string,
  stored: number,
  { memoryBytes, floats }: CacheOptions,
  cause: unknown,
): FrostbitError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
  return new FrostbitError(
    "IO",
    `The activations of "${name}" could not be stored, after ${megabytes(memoryBytes)} MB in memory and ${megabytes(stored)} MB in the storage: ${reason} Use fewer samples, more memory${floats === "float32" ? " or float16" : ""}.`,
    { cause },
  );
}

interface Source {
  readonly name: string;
  readonly column: Column;
  readonly storage: Storage;
}

/** Each chunk that holds one of the samples is read once. */
async function gather(
  { name, column, storage }: Source,
  indices: ArrayLike<number>,
  spare: SpareArrays | undefined,
): Promise<Tensor> {
  const { shape, channels, samplesPerChunk, chunks } = column;
  const count = chunks.length * samplesPerChunk + column.filled;
  const size = sizeOf(shape);
  const read = new Map<number, number>();
  const arrays: TypedArray[] = [];
  const places = new Int32Array(indices.length);
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i];
    assert(index >= 0 && index < count, `"${name}" has ${count} samples, no ${index}`);
    const at = Math.floor(index / samplesPerChunk);
    let array = read.get(at);
    if (array === undefined) {
      const chunk = at < chunks.length ? await dataOf(name, chunks[at], column, storage) : column.filling;
      assert(chunk, `chunk ${at} of "${name}" is missing`);
      array = arrays.push(chunk) - 1;
      read.set(at, array);
    }
    places[i] = array * samplesPerChunk + (index % samplesPerChunk);
  }
  const pieces: Pieces = { arrays, size, places, channels };
  const join = (): TypedArray => {
    const data = spareOr(spare, name, column.kept, indices.length * size);
    joinPieces(pieces, data);
    return data;
  };
  if (column.given === column.kept) return joinedTensor(column.kept, [indices.length, ...shape], { ...pieces, join });
  const data = spareOr(spare, name, column.given, indices.length * size) as Float32Array;
  for (let i = 0; i < places.length; i++)
    widenInto("float16", pieceOf(pieces, places[i]) as Uint16Array, data, i * size);
  const whole = [indices.length, ...shape];
  return channels === undefined
    ? { dtype: column.given, shape: whole, data }
    : joinedTensor(column.given, whole, { arrays: [data], size, places: places.map((_, i) => i), channels });
}

/** The array that was spared under this name, where it fits; else one that is spared from now on. */
function spareOr(spare: SpareArrays | undefined, name: string, dtype: DType, length: number): TypedArray {
  const known = spare?.get(name);
  if (known instanceof dtypes[dtype].array && known.length === length) return known;
  const made = allocate(dtype, length);
  spare?.set(name, made);
  return made;
}

async function dataOf(
  name: string,
  { data, file, bytes }: Chunk,
  { kept }: Column,
  storage: Storage,
): Promise<TypedArray> {
  if (data) return data;
  const stored = await storage.read(file);
  if (stored?.length !== bytes)
    throw new FrostbitError(
      "IO",
      `The activations of "${name}" are incomplete: "${file}" has ${stored?.length ?? 0} bytes, expected ${bytes}. Something else changes the storage of the cache; start again.`,
    );
  // A copy starts where an element may.
  const aligned = allocate(kept, bytes / dtypes[kept].array.BYTES_PER_ELEMENT);
  new Uint8Array(aligned.buffer).set(stored);
  return aligned;
}
