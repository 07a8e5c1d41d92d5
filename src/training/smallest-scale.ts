// How small a scale may become while it trains.
import type { Builder } from "../ir/builder.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";

/** Scales are kept at or above this share of what they started from: positive, and in the reach of integer kernels. */
const smallestScale = 2 ** -10;

/** `next`, but no smaller than that share of `start`. */
export function keepAboveSmallest(build: Builder, name: string, start: Tensor, next: string): string {
  const minimum = Array.from(numbersOf(start), (value) => value * smallestScale);
  return build.node("Max", [next, build.constant(tensorOf(start.dtype, start.shape, minimum), `${name}/smallest`)]);
}
