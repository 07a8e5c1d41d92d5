// Rounding to the nearest integer, half to even, whose gradient is 1.
import type { Builder } from "../ir/builder.ts";

/** Beyond what any weight is in units of its scale, where clipping takes over. */
const farthest = 2 ** 20;

export const straightRound = (build: Builder, value: string): string =>
  build.node("FakeQuantize", [
    value,
    build.scalar(1, value),
    undefined,
    build.scalar(-farthest, value),
    build.scalar(farthest, value),
  ]);
