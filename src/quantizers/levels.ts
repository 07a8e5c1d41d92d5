// Levels of weights that are not evenly spaced: powers of evenly spaced ones (PowerQuant, arXiv:2301.09858), and codebooks.
import type { DType } from "../ir/dtype.ts";
import { nearestLevel } from "../ir/nearest-level.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { type Granularity, scaleShape } from "../ops/granularity.ts";
import { type ObserverName, weightErrorPower } from "./observers/observer.ts";
import { forEachScaled, type Qparams } from "./qparams.ts";
import { boundsOf } from "./quantizer.ts";

interface LevelSite {
  readonly granularity: Granularity;
  readonly bits: number;
}

/** sign(k) (|k| / N)^(1/a) of the integers k from −N to N, N = 2^(b − 1) − 1. */
export function powerLevels(exponent: number, bits: number): Float64Array {
  const { high } = boundsOf(bits, true);
  return Float64Array.from({ length: 2 * high + 1 }, (_, i) => {
    const k = i - high;
    return Math.sign(k) * (Math.abs(k) / high) ** (1 / exponent);
  });
}

/** Exponents that are tried; 1 is a uniform grid. */
const exponents = Array.from({ length: 23 }, (_, i) => 0.3 + i / 20);

/** Weights by which an exponent is chosen, at most. */
const sampled = 2 ** 15;

/** The values that each scale serves. */
function valuesByScale(weight: Tensor, { granularity }: LevelSite): readonly (readonly number[])[] {
  const shape = scaleShape(weight.shape, granularity);
  const values: number[][] = Array.from({ length: sizeOf(shape) }, () => []);
  forEachScaled(weight, granularity, shape, (scale, value) => values[scale].push(value));
  return values;
}

/**
 * The exponent of least error for the layer, with a scale for each row: its largest magnitude or, where the observer is of errors,
 * that part of it by which the error is least.
 */
export function powerQparams(weight: Tensor, site: LevelSite, observer: ObserverName): Qparams {
  const rows = valuesByScale(weight, site);
  const error = weightErrorPower(observer);
  const few = rows.filter((_, i) => i % Math.ceil(weight.data.length / sampled) === 0);
  const errorOf = (exponent: number): number => {
    const levels = powerLevels(exponent, site.bits);
    return few.reduce((sum, row) => sum + scaleOf(row, levels, error, 0.08).error, 0);
  };
  const [best] = exponents
    .map((exponent) => ({ exponent, error: errorOf(exponent) }))
    .sort((a, b) => a.error - b.error || Math.abs(a.exponent - 1) - Math.abs(b.exponent - 1));
  const levels = powerLevels(best.exponent, site.bits);
  return qparamsOf(
    weight.dtype,
    scaleShape(weight.shape, site.granularity),
    rows.map((row) => scaleOf(row, levels, error, 0.01).scale),
    levels,
  );
}

/** Of parts of the largest magnitude, `step` apart, the one of least error; the whole of it where there is no power to raise errors to. */
function scaleOf(
  row: readonly number[],
  levels: Float64Array,
  power: number | undefined,
  step: number,
): { readonly scale: number; readonly error: number } {
  const largest = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (largest === 0) return { scale: 1, error: 0 };
  const factors = power === undefined ? [1] : Array.from({ length: Math.floor(0.8 / step) }, (_, i) => 1 - step * i);
  let best = { scale: largest, error: Number.POSITIVE_INFINITY };
  for (const factor of factors) {
    const scale = largest * factor;
    let error = 0;
    for (const w of row) error += Math.abs(w - scale * levels[nearestLevel(levels, w / scale)]) ** (power ?? 2);
    if (error < best.error) best = { scale, error };
  }
  return best;
}

const iterations = 50;

/**
 * Levels by k-means over w / s, and scales by least squares, in turn: each step lessens Σ h (w − s t)², t the level of w. Without
 * an importance h all weights count alike.
 */
export function codebookQparams(weight: Tensor, site: LevelSite, importance?: Float64Array): Qparams {
  const shape = scaleShape(weight.shape, site.granularity);
  const values = Float64Array.from(numbersOf(weight));
  const rowOf = new Int32Array(values.length);
  forEachScaled(weight, site.granularity, shape, (scale, _, at) => {
    rowOf[at] = scale;
  });
  const problem = { values, rowOf, weights: importance ?? new Float64Array(values.length).fill(1) };
  let scales = largestByRow(problem, sizeOf(shape));
  let levels = quantilesOf(problem, scales, 2 ** site.bits);
  for (let i = 0; i < iterations; i++) {
    levels = bestLevels(problem, scales, levels);
    scales = bestScales(problem, scales, levels);
  }
  return qparamsOf(weight.dtype, shape, scales, levels);
}

interface Clustering {
  readonly values: Float64Array;
  readonly rowOf: Int32Array;
  readonly weights: Float64Array;
}

function largestByRow({ values, rowOf }: Clustering, rows: number): Float64Array {
  const largest = new Float64Array(rows);
  values.forEach((value, i) => {
    largest[rowOf[i]] = Math.max(largest[rowOf[i]], Math.abs(value));
  });
  return largest.map((value) => value || 1);
}

/** The middles of `count` parts of w / s, each with as many elements. */
function quantilesOf({ values, rowOf }: Clustering, scales: Float64Array, count: number): Float64Array {
  const sorted = values.map((value, i) => value / scales[rowOf[i]]).sort();
  return Float64Array.from({ length: count }, (_, k) => sorted[Math.floor(((k + 0.5) / count) * sorted.length)]);
}

/** t = Σ h s w / Σ h s² of the elements that are nearest to each level; one that has none stays. */
function bestLevels({ values, rowOf, weights }: Clustering, scales: Float64Array, levels: Float64Array): Float64Array {
  const [sums, counts] = [new Float64Array(levels.length), new Float64Array(levels.length)];
  values.forEach((value, i) => {
    const scale = scales[rowOf[i]];
    const k = nearestLevel(levels, value / scale);
    sums[k] += weights[i] * scale * value;
    counts[k] += weights[i] * scale * scale;
  });
  return levels.map((level, k) => (counts[k] > 0 ? sums[k] / counts[k] : level)).sort();
}

/** s = Σ h w t / Σ h t² of each row, with the levels that its elements are nearest to. */
function bestScales({ values, rowOf, weights }: Clustering, scales: Float64Array, levels: Float64Array): Float64Array {
  const [sums, counts] = [new Float64Array(scales.length), new Float64Array(scales.length)];
  values.forEach((value, i) => {
    const row = rowOf[i];
    const level = levels[nearestLevel(levels, value / scales[row])];
    sums[row] += weights[i] * value * level;
    counts[row] += weights[i] * level * level;
  });
  return scales.map((scale, row) => (sums[row] > 0 && counts[row] > 0 ? sums[row] / counts[row] : scale));
}

/** Levels that are the same in the weight's type are one. */
function qparamsOf(dtype: DType, shape: readonly number[], scales: ArrayLike<number>, levels: Float64Array): Qparams {
  const distinct = [...new Set(numbersOf(tensorOf(dtype, [levels.length], levels)))];
  return {
    scale: tensorOf(dtype, shape, scales),
    zeroPoint: tensorOf(dtype, [], [0]),
    levels: tensorOf(dtype, [distinct.length], distinct),
  };
}
