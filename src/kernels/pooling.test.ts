import { describe, it } from "vitest";
import { checkForward } from "../../test/support/forward-check.ts";
import { createRandom } from "../../test/support/random.ts";
import type { Tensor } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

const random = createRandom(8);
const float = (...shape: number[]): Tensor => random.tensor("float32", shape);

const windows: [string, number[], Record<string, number | string | number[]>][] = [
  ["2 x 2", [2, 3, 8, 8], { kernel_shape: [2, 2], strides: [2, 2] }],
  ["3 x 3 with padding", [1, 2, 7, 8], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }],
  ["ceil_mode", [1, 2, 8, 7], { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 }],
  ["ceil_mode with padding", [1, 2, 8, 7], { kernel_shape: [3, 2], strides: [2, 3], pads: [1, 0, 1, 1], ceil_mode: 1 }],
  [
    "ceil_mode whose last window would start in the padding",
    [1, 1, 5, 5],
    { kernel_shape: [2, 2], strides: [3, 3], pads: [1, 1, 1, 1], ceil_mode: 1 },
  ],
  ["dilations", [1, 2, 9, 8], { kernel_shape: [3, 2], dilations: [2, 3] }],
  ["auto_pad", [1, 2, 7, 8], { kernel_shape: [3, 2], strides: [2, 2], auto_pad: "SAME_UPPER" }],
  ["1-D", [2, 3, 9], { kernel_shape: [4], strides: [3], pads: [1, 2] }],
  ["3-D", [1, 2, 4, 5, 6], { kernel_shape: [2, 3, 2], strides: [1, 2, 2], pads: [0, 1, 1, 1, 1, 0] }],
];

describe("MaxPool agrees with ONNX Runtime", () => {
  it.each(windows)("%s", async (_name, shape, attributes) => {
    await checkForward("MaxPool", [float(...shape)], attributes, { kernels, outputs: 2 });
  });

  it("of integers", async () => {
    const x = random.integerTensor("uint8", [1, 2, 6, 6], 0, 256);
    await checkForward("MaxPool", [x], { kernel_shape: [2, 2], strides: [2, 2] }, { kernels });
  });
});

describe("AveragePool agrees with ONNX Runtime", () => {
  it.each(windows)("%s", async (_name, shape, attributes) => {
    await checkForward("AveragePool", [float(...shape)], attributes, { kernels });
  });

  it.each(windows)("%s, counting the padding", async (_name, shape, attributes) => {
    await checkForward("AveragePool", [float(...shape)], { ...attributes, count_include_pad: 1 }, { kernels });
  });
});

describe("global pools agree with ONNX Runtime", () => {
  it.each(["GlobalAveragePool", "GlobalMaxPool"])("%s", async (op) => {
    await checkForward(op, [float(2, 3, 5, 4)], {}, { kernels });
    await checkForward(op, [float(2, 3, 5)], {}, { kernels });
  });
});
