import { describe, it } from "vitest";
import { checkForward } from "../../test/support/forward-check.ts";
import { createRandom } from "../../test/support/random.ts";
import type { Tensor } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

const random = createRandom(3);
const float = (...shape: number[]): Tensor => random.tensor("float32", shape);

describe("MatMul agrees with ONNX Runtime", () => {
  it.each([
    ["matrices", [5, 7], [7, 6]],
    ["batches", [3, 5, 7], [3, 7, 6]],
    ["a matrix for the whole batch", [2, 3, 5, 7], [7, 6]],
    ["batches broadcast against each other", [2, 1, 5, 7], [3, 7, 4]],
    ["a row", [7], [7, 6]],
    ["a column", [2, 5, 7], [7]],
    ["two vectors", [7], [7]],
    ["a row against a batch", [7], [2, 7, 6]],
    ["nothing", [0, 7], [7, 6]],
  ])("%s", async (_name, a, b) => {
    await checkForward("MatMul", [float(...a), float(...b)], {}, { kernels });
  });
});

describe("Gemm agrees with ONNX Runtime", () => {
  it.each([
    ["plain", [5, 7], [7, 6], undefined, {}],
    ["a bias per column", [5, 7], [6, 7], [6], { transB: 1 }],
    ["both transposed, scaled, a bias per row", [7, 5], [6, 7], [5, 1], { transA: 1, transB: 1, alpha: 0.5, beta: 2 }],
    ["a scalar", [5, 7], [7, 6], [], { alpha: -1.5 }],
    ["a whole matrix", [5, 7], [7, 6], [5, 6], { beta: 0.25 }],
  ])("%s", async (_name, a, b, c, attributes) => {
    await checkForward("Gemm", [float(...a), float(...b), c && float(...c)], attributes, { kernels });
  });
});
