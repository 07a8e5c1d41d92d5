// Which weights learn; the others are rounded to nearest.
import type { RoundedWeights } from "../rounding/soft-rounding.ts";

export const subsetNames = ["magnitude", "threshold", "random"] as const;

/** A share of each layer's weights, from 0 to 1: the largest, those nearest to the middle between two integers, or any. */
export interface Subset {
  readonly by: (typeof subsetNames)[number];
  readonly share: number;
}

/** By element 1 where it learns and 0 where it does not; `undefined` where all do. `drawn`: a random order of so many. */
export function subsetOf(
  { quotients }: RoundedWeights,
  weight: ArrayLike<number>,
  { by, share }: Subset,
  drawn: (count: number) => ArrayLike<number>,
): Float64Array | undefined {
  if (share === 1) return undefined;
  const count = Math.round(share * quotients.length);
  const learns = new Float64Array(quotients.length);
  for (const i of Array.from(orderOf(by, quotients, weight, drawn)).slice(0, count)) learns[i] = 1;
  return learns;
}

function orderOf(
  by: Subset["by"],
  quotients: Float64Array,
  weight: ArrayLike<number>,
  drawn: (count: number) => ArrayLike<number>,
): ArrayLike<number> {
  if (by === "random") return drawn(quotients.length);
  const rank =
    by === "magnitude"
      ? Float64Array.from(weight, (value) => -Math.abs(value))
      : quotients.map((quotient) => Math.abs(quotient - Math.floor(quotient) - 0.5));
  return Array.from(rank.keys()).sort((i, j) => rank[i] - rank[j] || i - j);
}
