// Samples of several lengths, filled up to one: batches of similar ones are cut to the longest of theirs.
import { allocate, sizeOf, type Tensor, tensor, toNumbers } from "../ir/tensor.ts";
import type { Dataset } from "./dataset.ts";

/** Lengths of batches are multiples of it, so that there are few: engines plan for each. */
const multiple = 8;

/** Of each sample, where what lies behind it may be cut off; `undefined` where labels or targets lie there too. */
export const lengthsToCut = ({ lengths, labelShape = [], target }: Dataset): Int32Array | undefined =>
  [...labelShape, ...(target?.shape ?? [])].every((size) => size === 1) ? lengths : undefined;

/** The samples of `order`, long ones first; of one length in their order. */
export const longFirst = (order: Int32Array, lengths: Int32Array): Int32Array =>
  order.toSorted((a, b) => lengths[b] - lengths[a]);

/** Of a batch of these samples, for all of them. */
export const lengthOfBatch = (indices: Int32Array, lengths: Int32Array): number =>
  multiple * Math.ceil(indices.reduce((most, index) => Math.max(most, lengths[index]), 1) / multiple);

/** The first `length` places of each sample: of [samples, places, …], [samples, length, …]. */
export function cutPlaces(source: Tensor, length: number): Tensor {
  const [samples, places, ...rest] = source.shape;
  if (!(places > length)) return source;
  const [from, to] = [places * sizeOf(rest), length * sizeOf(rest)];
  const data = allocate(source.dtype, samples * to);
  for (let row = 0; row < samples; row++)
    data.set(source.data.subarray(row * from, row * from + to) as never, row * to);
  return tensor(source.dtype, [samples, length, ...rest], data);
}

/** The input whose ones name what is a sample's own, as transformers call it. */
const mask = "attention_mask";

/** Of samples, along the first axis of all inputs, that a mask of ones, and zeros behind them, leaves out the rest of. */
export function lengthsByMask(inputs: ReadonlyMap<string, Tensor>): Int32Array | undefined {
  const given = inputs.get(mask);
  if (given?.shape.length !== 2) return undefined;
  const [samples, places] = given.shape;
  if (![...inputs.values()].every(({ shape }) => shape.length >= 2 && shape[1] === places)) return undefined;
  const ones = toNumbers(given);
  const lengths = Int32Array.from({ length: samples }, (_, sample) => {
    const row = ones.slice(sample * places, (sample + 1) * places);
    const count = row.lastIndexOf(1) + 1;
    return row.every((value, place) => value === (place < count ? 1 : 0)) ? count : 0;
  });
  return lengths.every((length) => length > 0) && lengths.some((length) => length < places) ? lengths : undefined;
}
