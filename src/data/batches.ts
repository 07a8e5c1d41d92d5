// Batches ready for a model, one after another.

import { type DType, dtypes } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Tensor } from "../ir/tensor.ts";
import { allocate, castTensor, sizeOf, tensor } from "../ir/tensor.ts";
import { type Augment, shiftOf } from "./augment.ts";
import { moveSamplesTo } from "./batch-axis.ts";
import { type Dataset, type InputType, type Samples, sampleOf } from "./dataset.ts";
import { imagePreparer, preparedShape, unshifted } from "./images.ts";
import { cutPlaces, lengthOfBatch, lengthsToCut, longFirst } from "./lengths.ts";
import { mayBePicture } from "./pictures.ts";
import { isNeutral, type Preprocess } from "./preprocess.ts";
import { naturalOrder } from "./sampler.ts";

export interface BatchOptions {
  readonly batchSize: number;
  readonly preprocess: Preprocess;
  /** Indices in the order in which they are visited; by default the dataset's own order. */
  readonly order?: Int32Array;
  /** Where samples are of several lengths: visits long ones before short ones, and cuts each batch to its longest. */
  readonly byLength?: boolean;
  /** Where samples are of several lengths: cuts each batch, all shares of it alike, to the least of these that holds its longest. */
  readonly cutTo?: readonly number[];
  readonly augment?: Augment;
  /** Leaves out a last batch that is not full. */
  readonly dropLast?: boolean;
  /** The batch to start with, to go on within an epoch. */
  readonly start?: number;
  /** What of each batch is given, where several processes share it; all of it where absent. */
  readonly share?: Share | undefined;
  /** Which of the batches are given, where several processes share those: a part that follows the one before it; all where absent. */
  readonly part?: Share | undefined;
}

/** One of `size` equal shares, from 0. */
export interface Share {
  readonly rank: number;
  readonly size: number;
}

/** The samples of a share, of those of a full batch. */
export function shareOf(samples: Int32Array, { rank, size }: Share = { rank: 0, size: 1 }): Int32Array {
  const count = samples.length / size;
  assert(Number.isInteger(count), `${samples.length} samples in ${size} shares`);
  return samples.slice(rank * count, (rank + 1) * count);
}

export interface Batch extends Samples {
  /** Its place in the order. */
  readonly index: number;
  readonly indices: Int32Array;
}

/** Unless the model takes them otherwise, images and other floats and bytes become float32; whole numbers stay what they are. */
export const preparedDtype = ({ dtype, preparedAs }: InputType): DType =>
  preparedAs ?? (dtype === "uint8" || dtype === "float64" ? "float32" : dtype);

/** Types of the prepared inputs, without the batch axis. */
export function preparedInputs(
  dataset: Dataset,
  preprocess: Preprocess,
): ReadonlyMap<string, { readonly dtype: DType; readonly shape: readonly number[] }> {
  return new Map(
    [...dataset.inputs].map(([name, type]) => [
      name,
      { dtype: preparedDtype(type), shape: preparedShape(type, preprocess) },
    ]),
  );
}

type Prepare = (tensor: Tensor, indices: Int32Array) => Tensor;

function preparer(dataset: Dataset, name: string, options: Pick<BatchOptions, "preprocess" | "augment">): Prepare {
  const type = dataset.inputs.get(name)!;
  const { preprocess, augment } = options;
  if (type.layout === undefined) return (given, indices) => place(castTensor(given, preparedDtype(type)), indices);
  const prepare = imagePreparer(type, preprocess);
  const shift =
    augment && augment.operations.length > 0
      ? (indices: Int32Array) => (row: number) => shiftOf(augment, indices[row])
      : () => unshifted;
  return (given, indices) =>
    moveSamplesTo(castTensor(prepare(given, shift(indices)), preparedDtype(type)), type.batchAxis ?? 0);

  function place(cast: Tensor, indices: Int32Array): Tensor {
    if (type.batchAxis === null) return oneScalar(dataset, name, cast, indices);
    return moveSamplesTo(cast.shape.length === 0 ? repeat(cast, indices.length) : cast, type.batchAxis ?? 0);
  }
}

const repeat = ({ dtype, data }: Tensor, count: number): Tensor =>
  tensor(dtype, [count], allocate(dtype, count).fill(data[0] as never));

/** What all samples of a batch share, which the model takes once for all. */
function oneScalar(dataset: Dataset, name: string, { dtype, data }: Tensor, indices: Int32Array): Tensor {
  const other = data.findIndex((value: number | bigint) => value !== data[0]);
  if (other > 0)
    throw new FrostbitError(
      "BAD_DATA",
      `"${name}" is ${data[0]} in sample ${sampleOf(dataset, indices[0])} of "${dataset.name}" and ${data[other]} in sample ${sampleOf(dataset, indices[other])}; the model takes one number for all samples that run at once. Give the samples of each number as a separate dataset.`,
    );
  return tensor(dtype, [], data.slice(0, 1));
}

/** As what it says that it is, and what it holds where that is something else. */
function printTensor(value: Tensor | undefined): string {
  if (!value) return "absent";
  const { dtype, shape, data } = value;
  const printed = `${dtype} [${shape.join(", ")}]`;
  const isWhole = data.length === sizeOf(shape) && data instanceof dtypes[dtype].array;
  return isWhole ? printed : `${printed} with ${data.length} elements in ${data.constructor.name}`;
}

/** What is wrong with the samples that a dataset gave; `undefined` where nothing is. */
function faultOf(dataset: Dataset, { inputs, labels, target }: Samples, count: number): string | undefined {
  for (const [name, { dtype, shape }] of dataset.inputs) {
    const given = printTensor(inputs.get(name));
    const expected = `${dtype} [${[count, ...shape].join(", ")}]`;
    if (shape.length === 0 && given === `${dtype} []`) continue;
    if (given !== expected) return `input "${name}" is ${given}; expected ${expected}.`;
  }
  const given = printTensor(labels);
  const expected = `int64 [${[count, ...(dataset.labelShape ?? [])].join(", ")}]`;
  if (dataset.hasLabels && given !== expected) return `labels are ${given}; expected ${expected}.`;
  const { dtype, shape } = dataset.target ?? { dtype: "float32", shape: [] };
  const wanted = `${dtype} [${[count, ...shape].join(", ")}]`;
  return dataset.target && printTensor(target) !== wanted
    ? `the target is ${printTensor(target)}; expected ${wanted}.`
    : undefined;
}

function checkSamples(dataset: Dataset, samples: Samples, count: number): void {
  const fault = faultOf(dataset, samples, count);
  if (fault !== undefined)
    throw new FrostbitError("BAD_DATA", `Dataset "${dataset.name}", asked for ${count} samples: ${fault}`);
}

function firstNaN({ data }: Tensor): number | undefined {
  if (!(data instanceof Float32Array || data instanceof Float64Array)) return undefined;
  for (let i = 0; i < data.length; i++) if (Number.isNaN(data[i])) return i;
  return undefined;
}

/** NaN spreads to every weight in a step; infinities may be meant, as in masks. */
function checkNumbers(dataset: Dataset, { inputs, target }: Samples, indices: Int32Array): void {
  for (const [name, tensor] of [...inputs, ["labels", target] as const]) {
    const at = tensor ? firstNaN(tensor) : undefined;
    if (tensor === undefined || at === undefined) continue;
    const size = Math.max(1, tensor.data.length / indices.length);
    throw new FrostbitError(
      "BAD_DATA",
      `"${name}" is NaN in sample ${sampleOf(dataset, indices[Math.floor(at / size)])} of "${dataset.name}" (element ${at % size} of ${size}). Repair the data, or take the sample out.`,
    );
  }
}

/** Of `count` things, the first of a part, and the one behind its last; the first part has one where there is one. */
export function partOf(count: number, { rank, size }: Share = { rank: 0, size: 1 }): readonly [number, number] {
  return [Math.ceil((rank * count) / size), Math.ceil(((rank + 1) * count) / size)];
}

/** How many batches there are. */
export const batchCount = (length: number, batchSize: number, dropLast = false): number =>
  dropLast ? Math.floor(length / batchSize) : Math.ceil(length / batchSize);

async function readChecked(dataset: Dataset, indices: Int32Array): Promise<Samples> {
  const samples = await dataset.read(indices);
  checkSamples(dataset, samples, indices.length);
  checkNumbers(dataset, samples, indices);
  return samples;
}

/** What `run` gives for each batch; the next one is prepared while it works. */
export async function* runAhead<B, Result>(
  all: AsyncGenerator<B, void, undefined>,
  run: (batch: B) => Promise<Result>,
): AsyncGenerator<readonly [B, Result], void, undefined> {
  try {
    let next = all.next();
    for (let step = await next; !step.done; step = await next) {
      const running = run(step.value);
      next = all.next();
      next.catch(() => undefined);
      yield [step.value, await running];
    }
  } finally {
    await all.return();
  }
}

/** Throws BAD_OPTION where pictures are to be changed, and several inputs or none that are known to be pictures may be meant. */
function checkPictures(dataset: Dataset, { preprocess, augment }: BatchOptions): void {
  const changes = [
    ...(isNeutral(preprocess) ? [] : ["preprocess"]),
    ...(augment && augment.operations.length > 0 ? ["augment"] : []),
  ];
  const types = [...dataset.inputs.values()];
  if (changes.length === 0 || !types.some(mayBePicture) || types.some(({ layout }) => layout !== undefined)) return;
  const inputs = [...dataset.inputs]
    .filter(([, type]) => mayBePicture(type))
    .map(([name, { dtype, shape }]) => `"${name}" (${dtype} [${shape.join(", ")}])`);
  throw new FrostbitError(
    "BAD_OPTION",
    `${changes.join(" and ")}: which of the inputs of "${dataset.name}" are pictures is not known; ${inputs.join(", ")} may be. Name those that are (--preprocess-inputs; in a module, their layout), or leave ${changes.join(" and ")} out.`,
  );
}

/** Reads a batch ahead, while whoever asked for the last one works on it. */
export async function* batches(dataset: Dataset, options: BatchOptions): AsyncGenerator<Batch, void, undefined> {
  const { batchSize, order: given = naturalOrder(dataset.length), dropLast, start = 0, part } = options;
  const { byLength, cutTo, share } = options;
  const lengths = byLength || cutTo ? lengthsToCut(dataset) : undefined;
  const order = lengths && byLength ? longFirst(given, lengths) : given;
  checkPictures(dataset, options);
  const prepare = new Map([...dataset.inputs.keys()].map((name) => [name, preparer(dataset, name, options)]));
  const [first, end] = partOf(batchCount(order.length, batchSize, dropLast), part);
  const begin = Math.max(start, first);
  const wholeOf = (index: number): Int32Array => order.slice(index * batchSize, (index + 1) * batchSize);
  const indicesOf = (index: number): Int32Array => shareOf(wholeOf(index), share);
  let next = begin < end ? readChecked(dataset, indicesOf(begin)) : undefined;
  for (let index = begin; index < end; index++) {
    const indices = indicesOf(index);
    const samples = await next;
    assert(samples, "a batch was not read ahead");
    next = index + 1 < end ? readChecked(dataset, indicesOf(index + 1)) : undefined;
    next?.catch(() => undefined);
    const length = lengths && lengthOfBatch(wholeOf(index), lengths, cutTo);
    const cut = (value: Tensor): Tensor => (length === undefined ? value : cutPlaces(value, length));
    const inputs = new Map(
      [...prepare].map(([name, prepareInput]) => [name, prepareInput(cut(samples.inputs.get(name)!), indices)]),
    );
    yield { ...samples, index, indices, inputs };
  }
}
