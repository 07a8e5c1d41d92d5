// How a range is chosen from what was seen of a value.

import { roundHalfToEven } from "../../ir/round.ts";
import type { Range } from "../qparams.ts";
import { type Bounds, boundsOf, boundsOfActivations } from "../quantizer.ts";
import { powerOfMagnitude } from "./power.ts";

export const observerNames = ["min-max", "moving-average", "percentile", "mse", "lp", "entropy"] as const;
export type ObserverName = (typeof observerNames)[number];

/** The range after another batch, of which each end moves a tenth of the way to the batch's. */
export function movingAverage(range: Range, batch: Range): Range {
  const follow = (end: number, seen: number): number => end + 0.1 * (seen - end);
  return { min: follow(range.min, batch.min), max: follow(range.max, batch.max) };
}

/** Counts of equal bins over `range`. */
export interface Histogram {
  readonly range: Range;
  readonly counts: Float64Array;
}

const histogramBins = 2048;

export function createHistogram(range: Range): Histogram {
  return { range, counts: new Float64Array(histogramBins) };
}

export function addToHistogram(histogram: Histogram, values: ArrayLike<number>): void {
  const { counts } = histogram;
  const { min, max } = histogram.range;
  const bins = counts.length;
  const perBin = bins / (max - min || 1);
  for (let i = 0; i < values.length; i++) {
    const place = (values[i] - min) * perBin;
    // One answer for nearly all values: branches that go either way, as at 0 behind a ReLU, take four times as long.
    if (place >= 0 && place < bins) counts[place | 0]++;
    else counts[place >= bins ? bins - 1 : 0]++;
  }
}

/** The range that leaves out the share `1 − share` of the values, half of it on each side where there is one. */
export function percentileRange(histogram: Histogram, share = 0.9999): Range {
  const { range, counts } = histogram;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const cut = (total * (1 - share)) / 2;
  const width = (range.max - range.min) / counts.length;
  const edge = (order: Iterable<number>): number => {
    let seen = 0;
    for (const bin of order) {
      seen += counts[bin];
      if (seen > cut) return bin;
    }
    return 0;
  };
  const low = edge(counts.keys());
  const high = edge([...counts.keys()].reverse());
  return { min: range.min + low * width, max: range.min + (high + 1) * width };
}

/** The range, with 0 inside it, and 99 ranges shrunk towards 0. */
export const shrunkRanges = (range: Range): readonly Range[] =>
  Array.from({ length: 100 }, (_, i) => ({
    min: (Math.min(range.min, 0) * (100 - i)) / 100,
    max: (Math.max(range.max, 0) * (100 - i)) / 100,
  }));

/** The integers that a range gives: those of its quantizer. */
export interface Grid extends Bounds {
  readonly scale: number;
  readonly zeroPoint: number;
}

export function gridOf(range: Range, bits: number, symmetric: boolean): Grid {
  const bounds = boundsOfActivations(bits, symmetric);
  const scale = symmetric
    ? Math.max(-range.min, range.max) / bounds.high
    : (range.max - range.min) / (bounds.high - bounds.low);
  return { ...bounds, scale, zeroPoint: symmetric ? 0 : roundHalfToEven(-range.min / scale) };
}

export const integerAt = ({ scale, zeroPoint, low, high }: Grid, x: number): number =>
  Math.min(high, Math.max(low, roundHalfToEven(x / scale) + zeroPoint));

/** Of 100 ranges shrunk towards 0, the one with the least squared error of the quantized values. */
export const mseRange = (histogram: Histogram, bits: number, symmetric = false): Range =>
  bestRange(shrunkRanges(histogram.range), (range, enough) =>
    errorOf(histogram, gridOf(range, bits, symmetric), 2, enough),
  );

/** QDrop's exponent: large errors count more than in the mean square. */
const lpPower = 2.4;

/** The range with the least |error|^2.4: of 100 shrunk towards 0, then each end by itself of 100 around the best. */
export function lpRange(histogram: Histogram, bits: number, symmetric = false): Range {
  const error = (range: Range, enough: number): number =>
    errorOf(histogram, gridOf(range, bits, symmetric), lpPower, enough);
  const both = bestRange(shrunkRanges(histogram.range), error);
  if (symmetric || both.min === 0 || both.max === 0) return both;
  const factors = Array.from({ length: 100 }, (_, i) => 0.5 + i / 100);
  const low = bestRange([both, ...factors.map((factor) => ({ ...both, min: both.min * factor }))], error);
  return bestRange([low, ...factors.map((factor) => ({ ...low, max: low.max * factor }))], error);
}

/** The first of those with the least error. A sum of errors may end where it is no less than the least so far, `enough`. */
function bestRange(ranges: readonly Range[], errorOfRange: (range: Range, enough: number) => number): Range {
  let best = ranges[0];
  let smallest = Number.POSITIVE_INFINITY;
  for (const range of ranges) {
    const error = errorOfRange(range, smallest);
    if (error < smallest) [smallest, best] = [error, range];
  }
  return best;
}

function errorOf({ range, counts }: Histogram, grid: Grid, power: Power, enough: number): number {
  const { scale, zeroPoint, low, high } = grid;
  if (scale === 0) return Number.POSITIVE_INFINITY;
  const { min, max } = range;
  const width = (max - min) / counts.length;
  let error = 0;
  for (let bin = 0; bin < counts.length && !(error >= enough); bin++) {
    if (counts[bin] === 0) continue;
    const x = min + (bin + 0.5) * width;
    const integer = Math.min(high, Math.max(low, roundHalfToEven(x / scale) + zeroPoint));
    error += counts[bin] * raised(x - (integer - zeroPoint) * scale, power);
  }
  return error;
}

const toLpPower = powerOfMagnitude(lpPower);

/** What errors are raised to. */
type Power = 2 | typeof lpPower;

const raised = (error: number, power: Power): number => (power === 2 ? error ** 2 : toLpPower(error));

export type WeightError = "mse" | "lp";

const powerOf = (error: WeightError): Power => (error === "mse" ? 2 : lpPower);

/** The power that an observer raises errors of weights to; `undefined` where it looks at no errors. */
export const weightErrorPower = (observer: ObserverName): number | undefined =>
  observer === "mse" || observer === "lp" ? powerOf(observer) : undefined;

/** What of scaled values is kept. */
interface Levels {
  readonly scale: number;
  readonly least: number;
  readonly most: number;
}

/** 1.5 · 2^52: added and taken off again, it rounds what is below 2^51 to the nearest integer, ties to even. */
const roundingOffset = 6755399441055744;

/** Σ |x − level · scale|^power of the nearest levels, which may end where it is no less than `enough`. */
function errorOfLevels(values: Float64Array, { scale, least, most }: Levels, power: Power, enough: number): number {
  let error = 0;
  for (let i = 0; i < values.length && !(error >= enough); i++) {
    const scaled = values[i] / scale;
    const level = scaled > most ? most : scaled < least ? least : scaled + roundingOffset - roundingOffset;
    const distance = values[i] - level * scale;
    error += power === 2 ? distance * distance : toLpPower(distance);
  }
  return error;
}

/** Of 80 ranges shrunk towards 0, the one with the least error of an asymmetric quantizer over `values`. */
export function leastErrorRange(values: readonly number[], bits: number, by: WeightError): Range {
  const whole = {
    min: values.reduce((smallest, value) => Math.min(smallest, value), 0),
    max: values.reduce((most, value) => Math.max(most, value), 0),
  };
  const power = powerOf(by);
  if (gridOf(whole, bits, false).scale === 0) return whole;
  const given = Float64Array.from(values);
  return bestRange(shrunkRanges(whole).slice(0, 80), (candidate, enough) => {
    const { scale, zeroPoint, low, high } = gridOf(candidate, bits, false);
    return errorOfLevels(given, { scale, least: low - zeroPoint, most: high - zeroPoint }, power, enough);
  });
}

/** Of 80 shrunk maxima, the one with the least error of a symmetric quantizer over `values`. */
export function leastErrorLargest(values: readonly number[], bits: number, by: WeightError): number {
  const { high } = boundsOf(bits, true);
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const power = powerOf(by);
  const given = Float64Array.from(values);
  let best = largest;
  let smallest = Number.POSITIVE_INFINITY;
  for (let step = 0; step < 80 && largest > 0; step++) {
    const candidate = largest * (1 - 0.01 * step);
    const error = errorOfLevels(given, { scale: candidate / high, least: -high, most: high }, power, smallest);
    if (error < smallest) [smallest, best] = [error, candidate];
  }
  return best;
}
