// How far a model's output is from another model's, over many samples.

import type { Tally } from "../distributed/tally.ts";
import { isFloat } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import { numbersOf, type Tensor, toNumbers } from "../ir/tensor.ts";
import {
  addChannels,
  type ChannelDistance,
  type ChannelSums,
  channelDistance,
  channelsFrom,
  numbersOfChannels,
} from "./channel-sums.ts";
import { type Difference, difference, joinDifferences, noDifference, sqnrDb } from "./difference.ts";
import { argmax } from "./score.ts";

/** Sums over the samples so far. */
export interface Distance {
  difference: Difference;
  /** Of whole numbers. */
  wholes: Difference;
  readonly channels: ChannelSums;
  /** Whether all values of the first model are from 0 to 1. */
  isShare: boolean;
  agreeing: number;
  compared: number;
  /** By class, how many samples have it in the first model; by whole number, how many values are it. */
  readonly classes: Map<number, number>;
}

/** How far one output of a model is from another model's. */
export interface OutputDistance {
  readonly name: string;
  /** 10 log₁₀ of the reference's energy over the difference's, in dB. Infinite where nothing differs, and for whole numbers. */
  readonly sqnrDb: number;
  /**
   * Of class scores: the share of samples whose largest is the same. Of whole numbers: the share that is equal. Of other
   * outputs: absent.
   */
  readonly agreement?: number;
  /** The agreement of a constant: the share of the class, or whole number, that the reference gives most often. */
  readonly constantAgreement?: number;
  /** Of few different whole numbers: what would be their SQNR, in dB. Of indices it says nothing. */
  readonly wholeDb?: number;
  /** Of floats. */
  readonly channels?: ChannelDistance;
}

export const noDistance = (): Distance => ({
  difference: noDifference,
  wholes: noDifference,
  channels: new Map(),
  isShare: true,
  agreeing: 0,
  compared: 0,
  classes: new Map(),
});

/** How many classes an output of shape [samples, classes] tells apart, whatever axes of size 1 follow; else `undefined`. */
function classesOf({ shape: [, classes, ...rest] }: Tensor): number | undefined {
  return classes > 1 && rest.every((size) => size === 1) ? classes : undefined;
}

/** Adds a batch's output, in both models of the same shape. `mayBeScores`: whether floats of their shape are class scores. */
export function addDistance(total: Distance, expected: Tensor, actual: Tensor, mayBeScores = true): void {
  assert(String(expected.shape) === String(actual.shape), `outputs are [${expected.shape}] and [${actual.shape}]`);
  if (isFloat(expected.dtype)) addFloats(total, expected, actual, mayBeScores ? classesOf(expected) : undefined);
  else addEqual(total, toNumbers(expected), toNumbers(actual));
}

function addFloats(total: Distance, expected: Tensor, actual: Tensor, classes: number | undefined): void {
  const [a, b] = [numbersOf(expected), numbersOf(actual)];
  total.difference = joinDifferences(total.difference, difference(a, b));
  addChannels(total.channels, expected, a, b);
  total.isShare &&= isBetween0And1(a);
  if (classes === undefined) return;
  for (let start = 0; start < a.length; start += classes) {
    const best = argmax(a, start, classes);
    total.classes.set(best, (total.classes.get(best) ?? 0) + 1);
    if (best === argmax(b, start, classes)) total.agreeing++;
  }
  total.compared += expected.shape[0];
}

function isBetween0And1(values: ArrayLike<number>): boolean {
  for (let i = 0; i < values.length; i++) if (!(values[i] >= 0 && values[i] <= 1)) return false;
  return true;
}

/** More different numbers than classes are places in lists, whose order small differences change. */
const mostNumbers = 256;

function addEqual(total: Distance, a: readonly number[], b: readonly number[]): void {
  for (const [i, value] of a.entries()) {
    if (value === b[i]) total.agreeing++;
    if (total.classes.size <= mostNumbers) total.classes.set(value, (total.classes.get(value) ?? 0) + 1);
  }
  total.wholes = joinDifferences(total.wholes, difference(a, b));
  total.compared += a.length;
}

/** Of a batch, as what is joined to those of others. */
export const tallyOfDistance = (distance: Distance): Tally => ({
  sums: [
    [
      ...[distance.difference, distance.wholes].flatMap(({ signal, noise }) => [signal, noise]),
      ...[distance.agreeing, distance.compared, Number(!distance.isShare)],
    ],
  ],
  lists: [
    [distance.difference.largest],
    [distance.wholes.largest],
    [...distance.classes].flat(),
    numbersOfChannels(distance.channels),
  ],
});

/** How many sums and lists `tallyOfDistance` has. */
export const distanceTally = { sums: 1, lists: 4 } as const;

export function distanceFrom({ sums: [sums], lists }: Tally): Distance {
  const [signal, noise, wholesSignal, wholesNoise, agreeing, compared, outside] = Array.from(sums);
  const [largest, wholesLargest, counts, channels] = lists.map((list) => Array.from(list));
  const classes = new Map<number, number>();
  for (let i = 0; i < counts.length; i += 2)
    if (classes.size <= mostNumbers) classes.set(counts[i], (classes.get(counts[i]) ?? 0) + counts[i + 1]);
  return {
    difference: { signal, noise, largest: most(largest) },
    wholes: { signal: wholesSignal, noise: wholesNoise, largest: most(wholesLargest) },
    channels: channelsFrom(channels),
    isShare: outside === 0,
    agreeing,
    compared,
    classes,
  };
}

const most = (values: readonly number[]): number => values.reduce((high, value) => Math.max(high, value), 0);

export function distanceOf(name: string, total: Distance): OutputDistance {
  const { difference: sum, wholes, channels, isShare, agreeing, compared, classes } = total;
  const isFloats = channels.size > 0;
  const isList = !isFloats && classes.size > mostNumbers;
  return {
    name,
    sqnrDb: sqnrDb(sum),
    ...(compared > 0 && { agreement: agreeing / compared }),
    ...(classes.size > 0 && !isList && { constantAgreement: most([...classes.values()]) / compared }),
    ...(classes.size > 0 && !isList && !isFloats && { wholeDb: sqnrDb(wholes) }),
    ...(isFloats && { channels: channelDistance(channels, isShare) }),
  };
}
