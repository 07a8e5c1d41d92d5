// Samples of several lengths, filled up to one: batches of similar ones are cut to the longest of theirs.
import { allocate, sizeOf, type Tensor, tensor, toNumbers } from "../ir/tensor.ts";
import type { Dataset } from "./dataset.ts";
import { randomBits } from "./random.ts";
import { shuffledOrder } from "./sampler.ts";

/** Lengths of batches are multiples of it, so that there are few: engines plan for each. */
const multiple = 8;

/** Of each sample, where what lies behind it may be cut off; `undefined` where labels or targets lie there too. */
export const lengthsToCut = ({ lengths, labelShape = [], target }: Dataset): Int32Array | undefined =>
  [...labelShape, ...(target?.shape ?? [])].every((size) => size === 1) ? lengths : undefined;

/** The samples of `order`, long ones first; of one length in their order. */
export const longFirst = (order: Int32Array, lengths: Int32Array): Int32Array =>
  order.toSorted((a, b) => lengths[b] - lengths[a]);

/** Of a batch of these samples, for all of them: one of `sizes`, which rise, where there are some. */
export function lengthOfBatch(indices: Int32Array, lengths: Int32Array, sizes?: readonly number[]): number {
  const longest = indices.reduce((found, index) => Math.max(found, lengths[index]), 1);
  return sizes?.find((size) => size >= longest) ?? multiple * Math.ceil(longest / multiple);
}

/** What batches of samples of similar length are made of. */
export interface Buckets {
  readonly lengths: Int32Array;
  /** That batches are cut to, from the least on. */
  readonly sizes: readonly number[];
}

/** A training step is compiled, and kept, for each: so many at most, which together take twice the longest's memory. */
const most = { sizes: 4, timesLongest: 2 };

/** `undefined` where batches are not cut. */
export function bucketsOf(dataset: Dataset): Buckets | undefined {
  const lengths = lengthsToCut(dataset);
  if (!lengths) return undefined;
  const places = Math.max(...[...dataset.inputs.values()].map(({ shape: [first] }) => first));
  return { lengths, sizes: sizesOfLeastFilling(lengths).map((size) => Math.min(size, places)) };
}

/** Few lengths, such that all samples, each filled up to one of them, have the fewest places: by dynamic programming. */
function sizesOfLeastFilling(lengths: Int32Array): readonly number[] {
  const steps = Math.max(1, Math.ceil(lengths.reduce((longest, length) => Math.max(longest, length)) / multiple));
  const upTo = new Float64Array(steps + 1);
  for (const length of lengths) upTo[Math.max(1, Math.ceil(length / multiple))]++;
  for (let step = 1; step <= steps; step++) upTo[step] += upTo[step - 1];
  let best = Array.from(upTo, (count, step) => ({ places: count * step, sizes: [step] as readonly number[] }));
  let chosen = best[steps].sizes;
  for (let count = 2; count <= most.sizes; count++) {
    const shorter = best;
    best = best.map((alone, step) => {
      let least = alone;
      for (let before = 1; before < step; before++) {
        const places = shorter[before].places + (upTo[step] - upTo[before]) * step;
        if (places < least.places) least = { places, sizes: [...shorter[before].sizes, step] };
      }
      return least;
    });
    const { sizes } = best[steps];
    if (sizes.reduce((sum, size) => sum + size, 0) <= most.timesLongest * steps) chosen = sizes;
  }
  return chosen.map((step) => step * multiple);
}

/** Batches that are made of each other's samples: as many as transformers' sampler of grouped lengths sorts together. */
const batchesTogether = 50;

/** What tells the order of batches from that of samples. */
const batchStream = 0x62617463;

/**
 * The samples of `order`, with each full batch of samples of similar length: as many as are in 50 batches are sorted by length, and then all
 * batches are shuffled, by the seed and the epoch. What fills no batch stays behind them.
 */
export function orderInBuckets(
  order: Int32Array,
  lengths: Int32Array,
  { batch, seed, epoch }: { readonly batch: number; readonly seed: number; readonly epoch: number },
): Int32Array {
  const count = Math.floor(order.length / batch);
  const sorted = Int32Array.from(order);
  for (let first = 0; first < count; first += batchesTogether) {
    const [from, to] = [first * batch, Math.min(count, first + batchesTogether) * batch];
    sorted.set(longFirst(order.slice(from, to), lengths), from);
  }
  const result = Int32Array.from(order);
  for (const [to, from] of shuffledOrder(count, randomBits(seed, batchStream), epoch).entries())
    result.set(sorted.subarray(from * batch, (from + 1) * batch), to * batch);
  return result;
}

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
