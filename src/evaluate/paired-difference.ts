// Two models on the same samples: what chance does to both of them cancels.

/** Of the difference sample by sample, the mean and its standard error; infinite where the second alone is no number. */
export function pairedDifference(
  first: readonly number[],
  second: readonly number[],
): { readonly mean: number; readonly error: number } {
  const pairs = first.flatMap((value, i) => (Number.isNaN(value) ? [] : [second[i] - value]));
  if (pairs.some(Number.isNaN)) return { mean: Number.POSITIVE_INFINITY, error: 0 };
  const mean = pairs.reduce((sum, value) => sum + value, 0) / Math.max(1, pairs.length);
  const squares = pairs.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, error: pairs.length > 1 ? Math.sqrt(squares / (pairs.length - 1) / pairs.length) : 0 };
}
