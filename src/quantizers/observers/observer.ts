// How a range is chosen from what was seen of a value.

import { roundHalfToEven } from "../../ir/round.ts";
import type { Range } from "../qparams.ts";
import { type Bounds, boundsOf, boundsOfActivations } from "../quantizer.ts";

export const observerNames = ["min-max", "moving-average", "percentile", "mse", "entropy"] as const;
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
  const { range, counts } = histogram;
  const perBin = counts.length / (range.max - range.min || 1);
  for (let i = 0; i < values.length; i++)
    counts[Math.min(counts.length - 1, Math.max(0, Math.floor((values[i] - range.min) * perBin)))]++;
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
export function mseRange(histogram: Histogram, bits: number, symmetric = false): Range {
  let best = histogram.range;
  let smallest = Number.POSITIVE_INFINITY;
  for (const candidate of shrunkRanges(histogram.range)) {
    const error = squaredError(histogram, gridOf(candidate, bits, symmetric));
    if (error < smallest) [smallest, best] = [error, candidate];
  }
  return best;
}

function squaredError({ range, counts }: Histogram, grid: Grid): number {
  const { scale, zeroPoint } = grid;
  if (scale === 0) return Number.POSITIVE_INFINITY;
  const width = (range.max - range.min) / counts.length;
  let error = 0;
  for (let bin = 0; bin < counts.length; bin++) {
    const x = range.min + (bin + 0.5) * width;
    error += counts[bin] * (x - (integerAt(grid, x) - zeroPoint) * scale) ** 2;
  }
  return error;
}

/** Of 80 ranges shrunk towards 0, the one with the least squared error of an asymmetric quantizer over `values`. */
export function mseRangeOf(values: readonly number[], bits: number): Range {
  const whole = {
    min: values.reduce((smallest, value) => Math.min(smallest, value), 0),
    max: values.reduce((most, value) => Math.max(most, value), 0),
  };
  let best: Range = whole;
  let smallest = Number.POSITIVE_INFINITY;
  for (const candidate of shrunkRanges(whole).slice(0, 80)) {
    const grid = gridOf(candidate, bits, false);
    if (grid.scale === 0) return whole;
    let error = 0;
    for (const w of values) error += (w - (integerAt(grid, w) - grid.zeroPoint) * grid.scale) ** 2;
    if (error < smallest) [smallest, best] = [error, candidate];
  }
  return best;
}

/** Of 80 shrunk maxima, the one with the least squared error of a symmetric quantizer over `values`. */
export function mseLargest(values: readonly number[], bits: number): number {
  const { high } = boundsOf(bits, true);
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  let best = largest;
  let smallest = Number.POSITIVE_INFINITY;
  for (let step = 0; step < 80 && largest > 0; step++) {
    const candidate = largest * (1 - 0.01 * step);
    const scale = candidate / high;
    let error = 0;
    for (const w of values) error += (w - scale * Math.min(high, Math.max(-high, roundHalfToEven(w / scale)))) ** 2;
    if (error < smallest) [smallest, best] = [error, candidate];
  }
  return best;
}
