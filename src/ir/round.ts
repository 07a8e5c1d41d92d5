// Rounding as every runtime does it.

/** From here on a float64 is a multiple of 1 once it is added to 3 times this. */
const exact = 2 ** 51;

/** Rounds to the nearest integer, ties to even; what is not −0 does not give −0. */
export function roundHalfToEven(x: number): number {
  // The addition rounds, without branches that nobody can foresee.
  if (x < exact && x > -exact) return x === 0 ? x : x + 3 * exact - 3 * exact;
  const floor = Math.floor(x);
  const fraction = x - floor;
  if (fraction < 0.5) return floor;
  if (fraction > 0.5) return floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}
