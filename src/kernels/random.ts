// Choices at random.
import { assert } from "../ir/errors.ts";
import { elementBits } from "../ir/random-bits.ts";
import { numbersOf, tensorOf, toNumbers } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import type { Kernel } from "./kernel.ts";

const RandomChoice: Kernel = ([a, b, counters], node) => {
  const like = a ?? b;
  assert(like && counters, "RandomChoice lacks inputs");
  const limit = numberAttribute(node, "probability", 0.5) * 2 ** 32;
  const [counter] = toNumbers(counters);
  const [chosen, others] = [a && numbersOf(a), b && numbersOf(b)];
  const values = Float64Array.from({ length: like.data.length }, (_, i) =>
    elementBits(counter, i) < limit ? (chosen?.[i] ?? 0) : (others?.[i] ?? 0),
  );
  return [tensorOf(like.dtype, like.shape, values)];
};

export const randomKernels = { RandomChoice };
