// Scale and zero point from a range.
import type { DType } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { forEachRun, type Granularity, scaleLayout } from "../ops/granularity.ts";
import { boundsOf, boundsOfActivations } from "./quantizer.ts";

export interface Qparams {
  readonly scale: Tensor;
  /** As many as there are scales; one zero may stand for all. */
  readonly zeroPoint: Tensor;
  /** What is rounded to, in units of the scale; absent: integers. */
  readonly levels?: Tensor;
}

export interface Range {
  readonly min: number;
  readonly max: number;
}

/** What would have a smaller scale counts as 0: trained down from there, it would lose its digits, and quotients overflow. */
const minScale = 2 ** -110;

/** EfQAT eq. 2, with 0 inside the range: scale = (max − min)/(2^b − 1), zeroPoint = round(−min/scale). */
export function asymmetricQparams(range: Range, bits: number, dtype: DType, where: string): Qparams {
  const { min, max } = checkedRange(range, where);
  const scale = (max - min) / boundsOf(bits, false).high;
  return { scale: tensorOf(dtype, [], [scale]), zeroPoint: tensorOf(dtype, [], [roundHalfToEven(-min / scale) + 0]) };
}

/** scale = max(−min, max)/(2^(b−1) − 1), zeroPoint = 0. */
export function signedQparams(range: Range, bits: number, dtype: DType, where: string): Qparams {
  const { min, max } = checkedRange(range, where);
  const scale = Math.max(-min, max) / boundsOfActivations(bits, true).high;
  return { scale: tensorOf(dtype, [], [scale]), zeroPoint: tensorOf(dtype, [], [0]) };
}

/** Whether nothing but 0, or numbers as good as 0, was seen. */
export const isZeroRange = ({ min, max }: Range): boolean => Math.max(max, 0) - Math.min(min, 0) < 2 ** 8 * minScale;

/** The range with 0 inside it; throws BAD_DATA where that is not a range. */
function checkedRange(range: Range, where: string): Range {
  const min = Math.min(range.min, 0);
  const max = Math.max(range.max, 0);
  if (!Number.isFinite(min) || !Number.isFinite(max))
    throw new FrostbitError(
      "BAD_DATA",
      `Value "${where}" ranges from ${range.min} to ${range.max} in the calibration samples. Check the data and the preprocessing for NaN and infinite values.`,
    );
  if (isZeroRange(range))
    throw new FrostbitError(
      "BAD_DATA",
      `Value "${where}" was 0 in all calibration samples, so its scale would be 0. Check the preprocessing: mean, std and layout; or keep the layer that reads it in float.`,
    );
  return { min, max };
}

/** Scales of a weight from what is divided among the integers; zeros, or numbers as good as 0, get scale 1. */
const scalesOf = (spans: readonly number[], integers: number): number[] =>
  spans.map((span) => (span / integers >= minScale ? span / integers : 1));

/** EfQAT eq. 4 for each scale of a weight: max|w| / (2^(b−1) − 1). */
export function symmetricQparams(
  ranges: readonly Range[],
  bits: number,
  dtype: DType,
  shape: readonly number[],
): Qparams {
  const largest = ranges.map(({ min, max }) => Math.max(-min, max));
  const scales = scalesOf(largest, boundsOf(bits, true).high);
  return { scale: tensorOf(dtype, shape, scales), zeroPoint: tensorOf(dtype, [], [0]) };
}

/** EfQAT eq. 2 for each scale of a weight. */
export function asymmetricWeightQparams(
  ranges: readonly Range[],
  bits: number,
  dtype: DType,
  shape: readonly number[],
): Qparams {
  const { high } = boundsOf(bits, false);
  const ends = ranges.map(({ min, max }) => ({ min: Math.min(min, 0), max: Math.max(max, 0) }));
  const spans = ends.map(({ min, max }) => max - min);
  const scales = scalesOf(spans, high);
  const zeroPoints = ends.map(({ min }, i) => Math.min(high, roundHalfToEven(-min / scales[i]) + 0));
  return { scale: tensorOf(dtype, shape, scales), zeroPoint: tensorOf(dtype, shape, zeroPoints) };
}

/** The same with scales rounded up to powers of two, so that the range still fits, and the zero point moved along. */
export function powerOfTwoQparams({ scale, zeroPoint }: Qparams): Qparams {
  const powers = Array.from(numbersOf(scale), (value) => 2 ** Math.ceil(Math.log2(value)));
  const moved = Array.from(numbersOf(zeroPoint), (value, i) =>
    roundHalfToEven((value * numbersOf(scale)[i]) / powers[i]),
  );
  return {
    scale: tensorOf(scale.dtype, scale.shape, powers),
    zeroPoint: tensorOf(zeroPoint.dtype, zeroPoint.shape, moved),
  };
}

/** Calls `visit` for each element with the index of its row along `axis`. */
export function forEachInRows(
  t: Tensor,
  axis: number,
  visit: (row: number, value: number, index: number) => void,
): void {
  const data = numbersOf(t);
  const inner = sizeOf(t.shape.slice(axis + 1));
  const rows = t.shape[axis];
  for (let i = 0; i < data.length; )
    for (let row = 0; row < rows; row++) for (const end = i + inner; i < end; i++) visit(row, data[i], i);
}

/** Calls `visit` for each element with the index of its scale. */
export function forEachScaled(
  t: Tensor,
  granularity: Granularity,
  scale: readonly number[],
  visit: (scale: number, value: number, index: number) => void,
): void {
  const data = numbersOf(t);
  forEachRun(scaleLayout(t.shape, granularity, scale), (start, end, index) => {
    for (let i = start; i < end; i++) visit(index, data[i], i);
  });
}

/** max|w| of each row. */
export function largestOfRows(t: Tensor, axis: number): number[] {
  const result = new Float64Array(t.shape[axis]);
  const data = numbersOf(t);
  const inner = sizeOf(t.shape.slice(axis + 1));
  for (let i = 0; i < data.length; )
    for (let row = 0; row < result.length; row++)
      for (const end = i + inner; i < end; i++) {
        const magnitude = Math.abs(data[i]);
        // What is not a number stays.
        if (magnitude > result[row] || Number.isNaN(magnitude)) result[row] = magnitude;
      }
  return [...result];
}
