// Tensors of the models that the benches make.
import { randomBits } from "../../src/data/random.ts";
import { sizeOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";

/** Values from -bound to bound. */
export const uniform = (shape: readonly number[], bound: number, seed: number): Tensor =>
  tensorOf(
    "float32",
    shape,
    Float32Array.from({ length: sizeOf(shape) }, (_, i) => bound * (randomBits(seed, i) / 2 ** 31 - 1)),
  );

export const filled = (shape: readonly number[], value: number): Tensor =>
  tensorOf("float32", shape, new Float32Array(sizeOf(shape)).fill(value));
