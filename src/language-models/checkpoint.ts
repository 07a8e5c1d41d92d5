// The tensors of a checkpoint: one safetensors file, or several and an index. Each is read when it is used.
import { z } from "zod";
import { readSafetensors } from "../data/safetensors.ts";
import { type DType, isFloat } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { isHalf, rememberHalf, widenTensor } from "../ir/half.ts";
import { castTensor, sizeOf, type Tensor } from "../ir/tensor.ts";
import {
  type ByteSource,
  isStored,
  loaded,
  minStoredBytes,
  partReader,
  storedInParts,
  storedTensor,
} from "../ir/tensor-source.ts";
import { transposedMatrix } from "../ir/transposed-matrix.ts";

/** The files of a model's folder. */
export interface ModelFolder {
  readonly holds: (file: string) => boolean;
  readonly open: (file: string) => ByteSource;
}

export interface Checkpoint {
  readonly has: (name: string) => boolean;
  /** In the float type that the graph has; throws BAD_MODEL where there is none, or one of another shape. */
  readonly take: (name: string, shape: readonly number[]) => Tensor;
  /** Those that nothing took. */
  readonly untaken: () => readonly string[];
}

const single = "model.safetensors";
const indexFile = "model.safetensors.index.json";

const bad = (what: string): FrostbitError => new FrostbitError("BAD_MODEL", what);

export function openCheckpoint(folder: ModelFolder, dtype: "float32" | "float64"): Checkpoint {
  const tensors = tensorsOf(folder);
  const taken = new Set<string>();
  return {
    has: (name) => tensors.has(name),
    take: (name, shape) => {
      const found = tensors.get(name);
      if (!found) throw bad(`the checkpoint has no tensor "${name}", which config.json asks for.`);
      if (found.shape.join() !== shape.join())
        throw bad(`tensor "${name}" is [${found.shape.join(", ")}]; by config.json it is [${shape.join(", ")}].`);
      taken.add(name);
      return floatTensor(name, found, dtype);
    },
    untaken: () => [...tensors.keys()].filter((name) => !taken.has(name)),
  };
}

function tensorsOf(folder: ModelFolder): ReadonlyMap<string, Tensor> {
  if (folder.holds(indexFile)) return shardedTensors(folder);
  if (folder.holds(single)) return readSafetensors(folder.open(single), single).tensors;
  throw bad(
    `the folder has neither ${single} nor ${indexFile}. Weights are read from safetensors: save the model with save_pretrained(safe_serialization=True).`,
  );
}

/** The files that a folder's weights are in. */
export function weightFiles(folder: ModelFolder): readonly string[] {
  return folder.holds(indexFile) ? [indexFile, ...new Set(Object.values(weightMap(folder)))] : [single];
}

const index = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

function weightMap(folder: ModelFolder): Readonly<Record<string, string>> {
  const parsed = index.safeParse(readJson(folder, indexFile));
  if (!parsed.success) throw bad(`${indexFile} has no weight_map of tensors' files.`);
  return parsed.data.weight_map;
}

function shardedTensors(folder: ModelFolder): ReadonlyMap<string, Tensor> {
  const places = Object.entries(weightMap(folder));
  const files = new Map(
    [...new Set(places.map(([, file]) => file))].map((file) => [
      file,
      readSafetensors(folder.open(checkedName(file)), file).tensors,
    ]),
  );
  return new Map(
    places.map(([name, file]) => {
      const found = files.get(file)?.get(name);
      if (!found) throw bad(`${indexFile} says that tensor "${name}" is in ${file}, which has none of that name.`);
      return [name, found];
    }),
  );
}

/** Files of the folder alone. */
function checkedName(file: string): string {
  if (!/[/\\]|^\.\.?$/.test(file)) return file;
  throw bad(`${indexFile} names the file "${file}"; expected a file of its own folder.`);
}

/** Throws BAD_MODEL where a file of the folder is no JSON. */
export function readJson(folder: Pick<ModelFolder, "open">, file: string): unknown {
  const source = folder.open(file);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(source.read(0, source.sizeBytes)));
  } catch (cause) {
    if (cause instanceof FrostbitError) throw cause;
    throw new FrostbitError("BAD_MODEL", `${file} is not JSON.`, { cause });
  }
}

function floatTensor(name: string, found: Tensor, dtype: DType): Tensor {
  if (!isFloat(found.dtype) && !isHalf(found.dtype))
    throw bad(`tensor "${name}" is ${found.dtype}; expected floats. Give the model in float, not quantized.`);
  const wide = widened(found, dtype);
  if (isHalf(found.dtype)) rememberHalf(wide, found);
  return wide;
}

function widened(found: Tensor, dtype: DType): Tensor {
  const widen = (value: Tensor): Tensor => castTensor(widenTensor(value), dtype);
  const read = partReader(found);
  if (!read || !staysStored(found, found.shape)) return derived(found, dtype, found.shape, widen);
  return storedInParts(dtype, found.shape, (start, end) => {
    const part = { dtype: found.dtype, shape: [end - start], data: read(start, end) };
    return widen(part).data;
  });
}

const staysStored = (from: Tensor, shape: readonly number[]): boolean =>
  isStored(from) && sizeOf(shape) * 4 >= minStoredBytes;

/** A tensor made of another: now where it is small or in memory, else whenever it is used. */
export function derived(from: Tensor, dtype: DType, shape: readonly number[], make: (value: Tensor) => Tensor): Tensor {
  return staysStored(from, shape)
    ? storedTensor(dtype, shape, () => make(loaded(from)).data)
    : { ...make(loaded(from)), shape };
}

/** A matrix [rows, columns] as [columns, rows]. */
export function transposed(matrix: Tensor): Tensor {
  const [rows, columns] = matrix.shape;
  return derived(matrix, matrix.dtype, [columns, rows], transposedMatrix);
}
