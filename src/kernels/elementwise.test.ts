import { expect, test } from "vitest";
import { runKernel } from "../../test/support/forward-check.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

test("ReluGradient passes dy where y is positive", () => {
  const dy = tensorOf("float32", [4], [1, 2, 3, 4]);
  const y = tensorOf("float32", [4], [0.5, 0, -1, 2]);
  const [dx] = runKernel("ReluGradient", [dy, y], {}, kernels);
  expect([...dx.data]).toEqual([1, 0, 0, 4]);
});

test("ClipGradient passes dy where x is on a bound, between the bounds, or no number", () => {
  const dy = tensorOf("float32", [6], [1, 2, 3, 4, 5, 6]);
  const x = tensorOf("float32", [6], [-0.5, 0, 3, 6, 6.5, Number.NaN]);
  const [zero, six] = [0, 6].map((bound) => tensorOf("float32", [], [bound]));
  const gradient = (...bounds: readonly (Tensor | undefined)[]) =>
    [...runKernel("ClipGradient", [dy, x, ...bounds], {}, kernels)[0].data].map(Number);
  expect(gradient(zero, six)).toEqual([0, 2, 3, 4, 0, 6]);
  expect(gradient(zero)).toEqual([0, 2, 3, 4, 5, 6]);
  expect(gradient(undefined, six)).toEqual([1, 2, 3, 4, 0, 6]);
});

test("64-bit integers keep every digit", () => {
  const x: Tensor = { dtype: "int64", shape: [1], data: BigInt64Array.of(2n ** 62n + 1n) };
  const [y] = runKernel("Sub", [x, { ...x, data: BigInt64Array.of(2n ** 62n) }], {}, kernels);
  expect(y.data).toEqual(BigInt64Array.of(1n));
});
