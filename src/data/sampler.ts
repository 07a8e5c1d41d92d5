// The order in which an epoch visits the samples.
import { randomBelow } from "./random.ts";

/** 0, 1, 2, … */
export const naturalOrder = (length: number): Int32Array => Int32Array.from({ length }, (_, i) => i);

/** A permutation of 0 … length - 1 that depends on `seed` and `epoch` alone. */
export function shuffledOrder(length: number, seed: number, epoch: number): Int32Array {
  const order = naturalOrder(length);
  for (let i = length - 1; i > 0; i--) {
    const j = randomBelow(i + 1, seed, epoch, i);
    const swapped = order[i];
    order[i] = order[j];
    order[j] = swapped;
  }
  return order;
}
