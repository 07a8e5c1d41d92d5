// Learning rates by what one unit becomes with each: first that of weights, then that of their scales.

/** What the rates of weights and of their scales are multiplied by. */
export interface RateFactors {
  readonly weights: number;
  readonly scales: number;
}

const factors = [3, 1 / 3] as const;

/** Of those tried, the one of the least error; each rate is tried with the other as it was found best. */
export async function searchRates(errorOf: (tried: RateFactors) => Promise<number>): Promise<RateFactors> {
  let best: RateFactors = { weights: 1, scales: 1 };
  let least = await errorOf(best);
  for (const rate of ["weights", "scales"] as const) {
    const start = best;
    for (const factor of factors) {
      const tried = { ...start, [rate]: factor };
      const error = await errorOf(tried);
      if (error < least) [best, least] = [tried, error];
    }
  }
  return best;
}
