import { describe, expect, it } from "vitest";
import { runKernel } from "../../test/support/forward-check.ts";
import { checkGradients } from "../../test/support/gradient-check.ts";
import { createRandom } from "../../test/support/random.ts";
import { tensorOf, toNumbers } from "../ir/tensor.ts";
import { kernels } from "../kernels/index.ts";
import { buildOn } from "./infer.ts";

const random = createRandom(9);

const windows: [string, number[], Record<string, number | string | number[]>][] = [
  ["3 x 3 with padding", [1, 2, 7, 8], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }],
  ["ceil_mode with padding", [1, 2, 8, 7], { kernel_shape: [3, 2], strides: [2, 3], pads: [1, 0, 1, 1], ceil_mode: 1 }],
  ["dilations", [1, 2, 9, 8], { kernel_shape: [3, 2], dilations: [2, 3] }],
  ["auto_pad", [1, 2, 7, 8], { kernel_shape: [3, 2], strides: [2, 2], auto_pad: "SAME_LOWER" }],
  ["1-D", [2, 3, 9], { kernel_shape: [4], strides: [3], pads: [1, 2] }],
  ["3-D", [1, 2, 4, 5, 6], { kernel_shape: [2, 3, 2], strides: [1, 2, 2], pads: [0, 1, 1, 1, 1, 0] }],
];

describe("gradients of pools agree with finite differences", () => {
  it.each(windows)("%s", (_name, shape, attributes) => {
    const x = random.tensor("float64", shape);
    checkGradients("MaxPool", [x], attributes, { kernels });
    checkGradients("AveragePool", [x], attributes, { kernels });
    checkGradients("AveragePool", [x], { ...attributes, count_include_pad: 1 }, { kernels });
  });

  it.each(["GlobalAveragePool", "GlobalMaxPool"])("%s", (op) => {
    checkGradients(op, [random.tensor("float64", [2, 3, 5, 4])], {}, { kernels });
  });

  it("equal maxima: all of dy goes to the first", () => {
    const x = tensorOf("float64", [1, 1, 2, 2], [3, 5, 5, 5]);
    const dy = tensorOf("float64", [1, 1, 1, 1], [7]);
    const [dx] = runKernel("MaxPoolGradient", [dy, x], { kernel_shape: [2, 2] }, kernels);
    expect(toNumbers(dx)).toEqual([0, 7, 0, 0]);
  });
});

it("pools refuse SAME windows that leave gaps", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [1, 1, 6, 6] });
  const attributes = { kernel_shape: [1, 2], strides: [3, 3], auto_pad: "SAME_UPPER" };
  expect(() => build.node("MaxPool", [x], attributes, "/pool")).toThrow(
    'MaxPool (node "/pool"): auto_pad SAME_UPPER with kernel [1, 2] and strides [3, 3] leaves gaps',
  );
});
