// How the regularizer and the learning rate of learned rounding go with the iterations, which count from 1.
import type { SoftRoundingOptions } from "./options.ts";

interface Schedule extends Pick<SoftRoundingOptions, "roundingWarmup" | "betaStart" | "betaEnd"> {
  readonly iterations: number;
}

/** Linear from the first exponent to the last, over the iterations behind the warm-up; `undefined` in it. */
export function betaAt(
  iteration: number,
  { iterations, roundingWarmup, betaStart, betaEnd }: Schedule,
): number | undefined {
  const first = roundingWarmup * iterations;
  if (iteration < first) return undefined;
  return betaEnd + (betaStart - betaEnd) * Math.max(0, 1 - (iteration - first) / (iterations - first));
}

/** A variable has to travel up to 2.4, and Adam moves it by the learning rate at most: all iterations together go 10 far. */
export const learningRateOf = ({
  iterations,
  roundingLr,
}: Pick<SoftRoundingOptions, "roundingLr"> & { readonly iterations: number }): number =>
  roundingLr ?? Math.max(1e-3, 10 / iterations);
