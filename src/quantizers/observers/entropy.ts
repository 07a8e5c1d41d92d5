// The range that keeps the most information: least Kullback-Leibler divergence, as TensorRT calibrates.
import type { Range } from "../qparams.ts";
import { gridOf, type Histogram, integerAt, shrunkRanges } from "./observer.ts";

/** Stands for no probability at all. */
const never = 1e-9;

/** Of 100 ranges shrunk towards 0, the one whose quantized histogram is nearest to the clipped one. */
export function entropyRange(seen: Histogram, bits: number, symmetric = false): Range {
  const histogram = withoutZeros(seen);
  let best = histogram.range;
  let smallest = Number.POSITIVE_INFINITY;
  for (const candidate of shrunkRanges(histogram.range)) {
    const divergence = divergenceOf(histogram, candidate, bits, symmetric);
    if (divergence < smallest) [smallest, best] = [divergence, candidate];
  }
  return best;
}

/** Zeros, which a Relu gives by the thousand, are exact in every range: their bin counts as much as the larger of its neighbours. */
function withoutZeros({ range, counts }: Histogram): Histogram {
  const zero = Math.floor((-range.min / (range.max - range.min)) * counts.length);
  const fewer = counts.slice();
  if (zero >= 0 && zero < counts.length)
    fewer[zero] = Math.min(counts[zero], Math.max(counts[zero - 1] ?? 0, counts[zero + 1] ?? 0));
  return { range, counts: fewer };
}

/**
 * Σ p · ln(p / q): p is the histogram with the counts outside the range added at its ends; q spreads the counts inside, level by
 * level, evenly over the bins of p that hold anything.
 */
function divergenceOf({ range, counts }: Histogram, candidate: Range, bits: number, symmetric: boolean): number {
  const grid = gridOf(candidate, bits, symmetric);
  const width = (range.max - range.min) / counts.length;
  const first = Math.max(0, Math.round((candidate.min - range.min) / width));
  const last = Math.min(counts.length, Math.round((candidate.max - range.min) / width)) - 1;
  if (last - first + 1 < 2 ** bits) return Number.POSITIVE_INFINITY;
  const clipped = counts.slice(first, last + 1);
  clipped[0] += counts.subarray(0, first).reduce((sum, count) => sum + count, 0);
  clipped[clipped.length - 1] += counts.subarray(last + 1).reduce((sum, count) => sum + count, 0);
  const inside = new Map<number, { count: number; bins: number }>();
  const levelOf = (bin: number): number => integerAt(grid, range.min + (first + bin + 0.5) * width);
  clipped.forEach((count, bin) => {
    if (count === 0) return;
    const level = levelOf(bin);
    const known = inside.get(level) ?? { count: 0, bins: 0 };
    inside.set(level, { count: known.count + counts[first + bin], bins: known.bins + 1 });
  });
  const total = clipped.reduce((sum, count) => sum + count, 0);
  const kept = [...inside.values()].reduce((sum, { count }) => sum + count, 0);
  let divergence = 0;
  clipped.forEach((count, bin) => {
    const level = count === 0 ? undefined : inside.get(levelOf(bin));
    if (!level) return;
    const p = count / total;
    divergence += p * Math.log(p / Math.max(never, level.count / level.bins / Math.max(kept, 1)));
  });
  return divergence;
}
