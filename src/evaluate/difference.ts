// How far one tensor is from another.

/** Signal to quantization noise in dB: 10·log10(Σ reference² / Σ (reference − other)²). Infinite where nothing differs. */
export interface Difference {
  readonly signal: number;
  readonly noise: number;
  readonly largest: number;
}

export function difference(reference: ArrayLike<number>, other: ArrayLike<number>): Difference {
  let signal = 0;
  let noise = 0;
  let largest = 0;
  for (let i = 0; i < reference.length; i++) {
    const delta = other[i] - reference[i];
    // Equal infinities, such as masked scores, differ by nothing.
    if (Number.isNaN(delta) && other[i] === reference[i]) continue;
    signal += reference[i] * reference[i];
    noise += delta * delta;
    if (!(Math.abs(delta) <= largest)) largest = Math.abs(delta);
  }
  return { signal, noise, largest };
}

export const joinDifferences = (a: Difference, b: Difference): Difference => ({
  signal: a.signal + b.signal,
  noise: a.noise + b.noise,
  largest: Math.max(a.largest, b.largest),
});

export const noDifference: Difference = { signal: 0, noise: 0, largest: 0 };

/** In place of an SQNR of NaN, or of one whose reference is 0 throughout: far below all others. */
const lowestDb = -1000;

/** For reports, which have no infinities: `null` where nothing differs. */
export const reportedDb = (decibels: number): number | null =>
  decibels === Number.POSITIVE_INFINITY ? null : Number.isFinite(decibels) ? decibels : lowestDb;

export const sqnrDb = ({ signal, noise }: Difference): number =>
  noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise);
