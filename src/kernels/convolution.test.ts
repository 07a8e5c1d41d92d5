import { describe, expect, it } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { checkForward, runKernel } from "../../test/support/forward-check.ts";
import { createRandom } from "../../test/support/random.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

const random = createRandom(1);
const float = (...shape: number[]): Tensor => random.tensor("float32", shape);
const options = { kernels };

describe("Conv agrees with ONNX Runtime", () => {
  it.each([
    ["3 x 3 with padding and bias", [2, 3, 8, 7], [5, 3, 3, 3], { pads: [1, 1, 1, 1] }],
    [
      "strides, dilations and uneven pads",
      [1, 4, 11, 13],
      [6, 4, 3, 2],
      { pads: [2, 0, 1, 3], strides: [2, 3], dilations: [2, 2] },
    ],
    ["groups", [2, 6, 5, 5], [4, 3, 3, 3], { group: 2, pads: [0, 1, 0, 1] }],
    ["depthwise", [1, 6, 9, 9], [6, 1, 3, 3], { group: 6, strides: [2, 2], pads: [1, 1, 1, 1] }],
    ["1-D", [2, 3, 12], [4, 3, 5], { strides: [2], pads: [2, 1] }],
    ["3-D", [1, 2, 5, 6, 4], [3, 2, 2, 3, 2], { pads: [1, 1, 0, 0, 1, 1], strides: [1, 2, 1] }],
    ["auto_pad SAME_UPPER", [1, 2, 7, 8], [3, 2, 3, 2], { auto_pad: "SAME_UPPER", strides: [2, 2] }],
    ["auto_pad SAME_LOWER", [1, 2, 7, 8], [3, 2, 4, 2], { auto_pad: "SAME_LOWER", strides: [1, 2] }],
    ["auto_pad VALID", [1, 2, 7, 8], [3, 2, 3, 3], { auto_pad: "VALID" }],
    ["windows far larger than the input", [1, 1, 2, 2], [2, 1, 5, 5], { pads: [3, 3, 3, 3] }],
  ])("%s", async (_name, x, w, attributes) => {
    await checkForward("Conv", [float(...x), float(...w), float(w[0])], attributes, options);
    await checkForward("Conv", [float(...x), float(...w)], attributes, options);
  });
});

describe("ConvTranspose agrees with ONNX Runtime", () => {
  it.each([
    [
      "strides and output padding",
      [2, 4, 5, 4],
      [4, 3, 3, 3],
      { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] },
    ],
    ["groups and dilations", [1, 4, 5, 5], [4, 2, 3, 2], { group: 2, dilations: [2, 1] }],
    ["output_shape", [1, 2, 4, 4], [2, 3, 3, 3], { strides: [2, 2], output_shape: [8, 8] }],
    [
      "output_shape with SAME_UPPER",
      [1, 2, 4, 4],
      [2, 3, 3, 3],
      { strides: [2, 2], output_shape: [8, 8], auto_pad: "SAME_UPPER" },
    ],
    ["1-D", [2, 3, 6], [3, 2, 4], { strides: [3] }],
  ])("%s", async (_name, x, w, attributes) => {
    const channels = w[1] * ("group" in attributes ? 2 : 1);
    await checkForward("ConvTranspose", [float(...x), float(...w), float(channels)], attributes, options);
  });
});

const dot = (a: Tensor, b: Tensor): number =>
  Array.from(a.data as Float64Array).reduce((sum, value, i) => sum + value * Number(b.data[i]), 0);

describe("the gradient operators of Conv are its adjoints", () => {
  it.each([
    [
      "strides, dilations and pads",
      [2, 3, 9, 8],
      [4, 3, 3, 2],
      { pads: [1, 0, 2, 1], strides: [2, 1], dilations: [1, 2] },
    ],
    ["groups", [2, 6, 5, 6], [4, 3, 3, 3], { group: 2, pads: [1, 1, 1, 1] }],
    ["3-D", [1, 2, 4, 5, 4], [3, 2, 2, 3, 2], { strides: [1, 2, 1] }],
  ])("%s", (_name, xShape, wShape, attributes) => {
    const x = random.tensor("float64", xShape);
    const w = random.tensor("float64", wShape);
    const [y] = runKernel("Conv", [x, w], attributes, kernels);
    const dy = random.tensor("float64", y.shape);
    const [dx] = runKernel("ConvGradientInput", [dy, w], { ...attributes, spatial: xShape.slice(2) }, kernels);
    const whole = { ...attributes, kernel_shape: wShape.slice(2) };
    const [dw] = runKernel("ConvGradientWeight", [dy, x], whole, kernels);
    expectClose([dot(dx, x), dot(dw, w)], [dot(dy, y), dot(dy, y)]);
  });

  it("and compute no rows, one row, or rows of several groups in any order", () => {
    const x = random.tensor("float64", [2, 6, 5, 5]);
    const dy = random.tensor("float64", [2, 4, 5, 5]);
    const attributes = { group: 2, pads: [1, 1, 1, 1], kernel_shape: [3, 3] };
    const [all] = runKernel("ConvGradientWeight", [dy, x], attributes, kernels);
    for (const rows of [[], [2], [3, 0, 1]]) {
      const [some] = runKernel(
        "ConvGradientWeight",
        [dy, x, tensorOf("int64", [rows.length], rows)],
        attributes,
        kernels,
      );
      const rowSize = 3 * 3 * 3;
      const expected = rows.flatMap((row) =>
        Array.from((all.data as Float64Array).subarray(row * rowSize, (row + 1) * rowSize)),
      );
      expect(some.shape).toEqual([rows.length, 3, 3, 3]);
      expectClose(Array.from(some.data as Float64Array), expected);
    }
  });
});
