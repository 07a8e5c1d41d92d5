// A model file opened in the runtime that will run it, and batches in the form that it declares.
import { placeSamples } from "../data/batch-axis.ts";
import { preparedDtype, preparedInputs } from "../data/batches.ts";
import { type Dataset, type InputType, matchInputs, withInputs, withoutLengths } from "../data/dataset.ts";
import { isNeutral, type Preprocess } from "../data/preprocess.ts";
import { batchAxes } from "../ir/batch-axes.ts";
import type { DType, TypedArray } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Dim, ValueType } from "../ir/graph.ts";
import { allocate, sizeOf, type Tensor, tensor } from "../ir/tensor.ts";

/** A model file opened in the runtime that will run it, until `dispose()`: `openDeployed` gives one. */
export interface ModelFile {
  /** As the file declares them. */
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  /**
   * `fetch`: names of the outputs wanted; all of them where absent. `spare`: by output, an array that it may be written into instead of
   * a new one; nobody reads it meanwhile.
   */
  run(
    inputs: ReadonlyMap<string, Tensor>,
    fetch?: readonly string[],
    spare?: ReadonlyMap<string, TypedArray>,
  ): Promise<ReadonlyMap<string, Tensor>>;
  /** Gives the model's memory back. */
  dispose(): Promise<void>;
}

/** The batch size that the file fixes; `undefined` where it takes any. */
export function fixedBatch({ inputs }: Pick<ModelFile, "inputs">): number | undefined {
  for (const [name, axis] of batchAxes(inputs)) {
    const size = inputs.get(name)?.shape[axis];
    if (typeof size === "number") return size;
  }
  return undefined;
}

/**
 * How many rows `samples` of a batch of `batchSize` are run with: as many as the file fixes. A last sample alone is run as two, since
 * some operators treat an axis of one element otherwise (Squeeze without axes removes it).
 */
export const rowsOfBatch = (fixed: number | undefined, samples: number, batchSize: number): number =>
  fixed ?? Math.max(samples, Math.min(2, batchSize));

const agrees = (shape: readonly number[], declared: readonly Dim[], batchAxis = 0): boolean =>
  declared.length === 0 ||
  (declared.length === shape.length + 1 &&
    declared
      .filter((_, axis) => axis !== batchAxis)
      .every((size, axis) => typeof size === "string" || size < 0 || size === shape[axis]));

/** The dataset with the file's input names. Throws BAD_DATA where types or shapes differ. */
export function datasetFor(file: Pick<ModelFile, "inputs">, dataset: Dataset, preprocess: Preprocess): Dataset {
  const matching = matchInputs(dataset, { inputs: [...file.inputs.keys()] });
  const named = leavesLengthOpen(file) ? matching : withoutLengths(matching);
  const matched = preparedFor(placeSamples(named, file.inputs), file.inputs, preprocess);
  const axes = batchAxes(file.inputs);
  const prepared = preparedInputs(matched, preprocess);
  for (const [name, declared] of file.inputs) {
    const given = prepared.get(name);
    if (!given || (given.dtype === declared.dtype && agrees(given.shape, declared.shape, axes.get(name)))) continue;
    throw new FrostbitError(
      "BAD_DATA",
      `Input "${name}" of the model is ${declared.dtype} [${declared.shape.join(", ")}]; "${dataset.name}" gives ${given.dtype} [batch, ${given.shape.join(", ")}]. ${remedy(matched.inputs.get(name), given, declared, preprocess)}`,
    );
  }
  return matched;
}

/** Whether every input takes samples of any length. */
function leavesLengthOpen({ inputs }: Pick<ModelFile, "inputs">): boolean {
  const axes = batchAxes(inputs);
  return [...inputs].every(([name, { shape }]) => {
    const size = shape[axes.get(name) === 0 ? 1 : 0];
    return typeof size === "string" || size < 0;
  });
}

/** The dataset with its samples prepared as the model's types, where these hold all that the samples do. */
function preparedFor(dataset: Dataset, inputs: ReadonlyMap<string, ValueType>, preprocess: Preprocess): Dataset {
  const prepare = (name: string, type: InputType): InputType => {
    const wanted = inputs.get(name)?.dtype;
    const isChanged = type.layout !== undefined && !isNeutral(preprocess);
    if (wanted === undefined || wanted === preparedDtype(type)) return type;
    return holds(wanted, isChanged ? "float32" : type.dtype) ? { ...type, preparedAs: wanted } : type;
  };
  const prepared = new Map([...dataset.inputs].map(([name, type]) => [name, prepare(name, type)]));
  const isSame = [...prepared].every(([name, type]) => dataset.inputs.get(name) === type);
  return isSame ? dataset : withInputs(dataset, prepared);
}

/** Whether every value of one type is one of another. */
function holds(wide: DType, narrow: DType): boolean {
  if (wide === narrow) return true;
  if (wide === "float64") return narrow === "float32" || narrow === "uint8";
  const [a, b] = [wide, narrow].map((dtype) => /^(u?)int(8|16|32|64)$/.exec(dtype));
  if (!a || !b || Number(a[2]) <= Number(b[2])) return false;
  return a[1] === "" || b[1] === "u";
}

/** The other layout, where the images would fit in it. */
function remedy(type: InputType | undefined, given: ValueShape, declared: ValueType, { layout }: Preprocess): string {
  const isImage = type?.layout !== undefined;
  const [a, b, c] = given.shape;
  const turned = layout === "nchw" ? [b, c, a] : [c, a, b];
  const fits = isImage && given.shape.length === 3 && agrees(turned, declared.shape);
  if (type?.dtype === declared.dtype && given.dtype !== declared.dtype)
    return `The model takes what is stored, and preprocessing makes ${given.dtype} of it: leave --preprocess, --scale, --mean and --std out.`;
  if (given.dtype !== declared.dtype) return `Save the samples as ${declared.dtype}, if they are what the model takes.`;
  if (fits) return `Try --layout ${layout === "nchw" ? "nhwc" : "nchw"}.`;
  const channel = layout === "nchw" ? 0 : 2;
  if (isImage && declared.shape.length === 4 && declared.shape[channel + 1] === given.shape[channel])
    return "The images are of another size: --resize and --crop, for images:DIR, decide how large they become.";
  return "Check that the model and the data belong together.";
}

interface ValueShape {
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** The tensor with `count` rows, its last one repeated. */
export function padRows(source: Tensor, count: number): Tensor {
  const rows = source.shape[0];
  if (rows >= count) return source;
  const shape = source.shape.slice(1);
  const size = sizeOf(shape);
  const data = allocate(source.dtype, count * size);
  data.set(source.data as never);
  const last = source.data.subarray((rows - 1) * size, rows * size);
  for (let row = rows; row < count; row++) data.set(last as never, row * size);
  return tensor(source.dtype, [count, ...shape], data);
}

/** The first `most` rows; the tensor itself where there are no more. */
export function firstRows(source: Tensor, most: number): Tensor {
  const [rows, ...shape] = source.shape;
  if (rows <= most) return source;
  return tensor(source.dtype, [most, ...shape], source.data.slice(0, most * sizeOf(shape)));
}
