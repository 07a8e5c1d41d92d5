// The distribution of a tensor's values, and the range in which a quantizer distinguishes them.
import type { Graph } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import type { Granularity } from "../ops/granularity.ts";
import { forEachScaled } from "./qparams.ts";
import type { Bounds, Quantizer } from "./quantizer.ts";

/** The distribution of a tensor's values. */
export interface Histogram {
  readonly min: number;
  readonly max: number;
  /** In bins of the same width, from `min` to `max`. */
  readonly counts: readonly number[];
  /** What the quantizer can represent; absent where there is none. */
  readonly range?: QuantizerRange;
}

/** What a quantizer can represent. */
export interface QuantizerRange {
  /** The widest range of the channels or groups, and the narrowest; the same where all share one. */
  readonly widest: Bounds;
  readonly narrowest: Bounds;
  /** Share of the values that are clipped, 0 to 1. */
  readonly clipped: number;
}

const bins = 48;

/** Without what is not finite. */
export function histogramOf(values: Tensor, ranges?: QuantizerRanges): Histogram {
  const data = numbersOf(values);
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < data.length; i++) {
    if (!Number.isFinite(data[i])) continue;
    if (data[i] < min) min = data[i];
    if (data[i] > max) max = data[i];
  }
  const counts = new Array<number>(bins).fill(0);
  const perUnit = max > min ? bins / (max - min) : 0;
  for (let i = 0; i < data.length; i++)
    if (Number.isFinite(data[i])) counts[Math.min(bins - 1, Math.floor((data[i] - min) * perUnit))]++;
  const range = min <= max ? { min, max, counts } : { min: 0, max: 0, counts };
  return ranges ? { ...range, range: summaryOf(values, ranges) } : range;
}

/** A range for each scale. */
export interface QuantizerRanges {
  readonly granularity: Granularity;
  /** Of the scales. */
  readonly shape: readonly number[];
  readonly ranges: readonly (Bounds & { readonly scale: number })[];
}

/** Real values at the ends of a quantizer's integers, (low − zeroPoint)·scale and (high − zeroPoint)·scale, or of its levels. */
export function rangesOf(graph: Graph, quantizer: Quantizer): QuantizerRanges | undefined {
  return quantizer.levels === "" ? rangesOfIntegers(graph, quantizer) : rangesOfLevels(graph, quantizer);
}

function rangesOfLevels(graph: Graph, { scale, levels, granularity }: Quantizer): QuantizerRanges | undefined {
  const [scales, all] = [scale, levels].map((name) => graph.constants.get(name));
  if (!scales || !all) return undefined;
  const sorted = numbersOf(all);
  const [low, high] = [sorted[0], sorted[sorted.length - 1]];
  // What is beyond the ends by half of the step before them rounds to them.
  const step = sorted.length > 1 ? high - sorted[sorted.length - 2] : 0;
  const ranges = Array.from(numbersOf(scales), (s) => ({ low: low * s, high: high * s, scale: step * s }));
  return { granularity, shape: scales.shape, ranges };
}

function rangesOfIntegers(
  graph: Graph,
  { node, scale, zeroPoint, granularity }: Quantizer,
): QuantizerRanges | undefined {
  const [scales, low, high] = [scale, node.inputs[3], node.inputs[4]].map((name) => graph.constants.get(name));
  const zeroPoints = zeroPoint === "" ? undefined : graph.constants.get(zeroPoint);
  if (!scales || !low || !high || (zeroPoint !== "" && !zeroPoints)) return undefined;
  const [{ 0: lowest }, { 0: highest }] = [numbersOf(low), numbersOf(high)];
  const ranges = Array.from(numbersOf(scales), (step, i) => {
    const offsets = zeroPoints && numbersOf(zeroPoints);
    const offset = offsets ? roundHalfToEven(offsets[i % offsets.length]) : 0;
    return { low: (lowest - offset) * step, high: (highest - offset) * step, scale: step };
  });
  return { granularity, shape: scales.shape, ranges };
}

const widthOf = ({ low, high }: Bounds): number => high - low;

function summaryOf(values: Tensor, { granularity, shape, ranges }: QuantizerRanges): QuantizerRange {
  const sorted = [...ranges].sort((a, b) => widthOf(a) - widthOf(b));
  const [narrowest, widest] = [sorted[0], sorted[sorted.length - 1]];
  let clipped = 0;
  let count = 0;
  forEachScaled(values, granularity, shape, (index, value) => {
    const { low, high, scale } = ranges[index];
    // Half a step beyond the ends still rounds to them.
    if (value < low - scale / 2 || value > high + scale / 2) clipped++;
    count++;
  });
  const bounds = ({ low, high }: Bounds): Bounds => ({ low, high });
  return { widest: bounds(widest), narrowest: bounds(narrowest), clipped: count === 0 ? 0 : clipped / count };
}
