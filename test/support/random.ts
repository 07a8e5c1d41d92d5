// A seeded generator for tests: the same numbers in every run.
import type { DType } from "../../src/ir/dtype.ts";
import { sizeOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";

export interface Random {
  /** Uniform in [low, high). */
  readonly uniform: (low?: number, high?: number) => number;
  readonly normal: () => number;
  /** An integer in [low, high). */
  readonly integer: (low: number, high: number) => number;
  /** Normal elements. */
  readonly tensor: (dtype: DType, shape: readonly number[]) => Tensor;
  readonly uniformTensor: (dtype: DType, shape: readonly number[], low: number, high: number) => Tensor;
  readonly integerTensor: (dtype: DType, shape: readonly number[], low: number, high: number) => Tensor;
  /** 0 to length - 1 in random order. */
  readonly permutation: (length: number) => number[];
}

/** mulberry32 */
function mulberry(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function createRandom(seed: number): Random {
  const next = mulberry(seed);
  const uniform = (low = 0, high = 1): number => low + (high - low) * next();
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  const integer = (low: number, high: number): number => Math.floor(uniform(low, high));
  const filled = (dtype: DType, shape: readonly number[], draw: () => number): Tensor =>
    tensorOf(dtype, shape, Array.from({ length: sizeOf(shape) }, draw));
  return {
    uniform,
    normal,
    integer,
    tensor: (dtype, shape) => filled(dtype, shape, normal),
    uniformTensor: (dtype, shape, low, high) => filled(dtype, shape, () => uniform(low, high)),
    integerTensor: (dtype, shape, low, high) => filled(dtype, shape, () => integer(low, high)),
    permutation: (length) => {
      const order = Array.from({ length }, (_, i) => i);
      for (let i = length - 1; i > 0; i--) {
        const j = integer(0, i + 1);
        [order[i], order[j]] = [order[j], order[i]];
      }
      return order;
    },
  };
}
