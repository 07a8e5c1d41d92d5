// Counter-based random numbers: a pure function of what they are for, so that a resumed run draws the same ones.
import { elementBits, mixBits } from "../ir/random-bits.ts";

/** 32 random bits for these counters (murmur3's mixing, once per counter). */
export function randomBits(...counters: readonly number[]): number {
  let hash = 0x9747b28c;
  for (const counter of counters) {
    let k = Math.imul(counter | 0, 0xcc9e2d51);
    k = (k << 15) | (k >>> 17);
    hash ^= Math.imul(k, 0x1b873593);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  return mixBits(hash);
}

/** A whole number from 0 to `limit` - 1. */
export const randomBelow = (limit: number, ...counters: readonly number[]): number =>
  Math.floor((randomBits(...counters) / 2 ** 32) * limit);

/** The number at `index` of a standard normal sequence of its own for each counter. */
export function normalAt(counter: number, index: number): number {
  const uniform = (at: number): number => (elementBits(counter, at) + 0.5) / 2 ** 32;
  return Math.sqrt(-2 * Math.log(uniform(2 * index))) * Math.cos(2 * Math.PI * uniform(2 * index + 1));
}
