// Inputs of a graph under test, declared where their values are drawn.
import type { Tensor } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { createRandom } from "./random.ts";

/** A builder, and inputs of it with the values that they are given. */
export function buildGiven(seed: number) {
  const build = buildOn();
  const random = createRandom(seed);
  const given = new Map<string, Tensor>();
  const feed = (name: string, value: Tensor, shape: readonly (number | string)[] = value.shape): string => {
    given.set(name, value);
    return build.input(name, { dtype: value.dtype, shape });
  };
  /** Whole numbers from `low` to below `high`. */
  const integers = (name: string, shape: readonly number[], low: number, high: number): string =>
    feed(name, random.integerTensor("float32", shape, low, high));
  return { build, given, feed, integers };
}
