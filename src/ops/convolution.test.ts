import { describe, expect, it } from "vitest";
import { checkGradients, checkRows } from "../../test/support/gradient-check.ts";
import { createRandom } from "../../test/support/random.ts";
import type { Tensor } from "../ir/tensor.ts";
import { kernels } from "../kernels/index.ts";
import { Conv, ConvGradientInput, ConvGradientWeight } from "./convolution.ts";
import { buildOn } from "./infer.ts";

const random = createRandom(2);
const double = (...shape: number[]): Tensor => random.tensor("float64", shape);
const options = { kernels };

describe("gradients of Conv agree with finite differences", () => {
  it.each([
    ["padding", [2, 3, 6, 5], [4, 3, 3, 3], { pads: [1, 1, 1, 1] }],
    [
      "strides, dilations and uneven pads",
      [1, 4, 11, 13],
      [6, 4, 3, 2],
      { pads: [2, 0, 1, 3], strides: [2, 3], dilations: [2, 2] },
    ],
    ["groups", [2, 6, 5, 5], [4, 3, 3, 3], { group: 2 }],
    ["1-D", [2, 3, 12], [4, 3, 5], { strides: [2], pads: [2, 1] }],
    ["3-D", [1, 2, 5, 6, 4], [3, 2, 2, 3, 2], { pads: [1, 1, 0, 0, 1, 1], strides: [1, 2, 1] }],
    ["auto_pad", [1, 2, 7, 8], [3, 2, 3, 2], { auto_pad: "SAME_LOWER", strides: [2, 2] }],
  ])("%s", (_name, x, w, attributes) => {
    checkGradients("Conv", [double(...x), double(...w), double(w[0])], attributes, options);
  });

  it.each([
    ["one group", [4, 3, 3, 3], 1],
    ["two groups", [4, 3, 3, 3], 2],
  ])("rows of the weight: %s", (_name, w, group) => {
    const inputs = [double(2, 3 * group, 5, 5), double(...w)];
    checkRows("Conv", inputs, { group }, { input: 1, axis: 0, rows: [3, 1] }, options);
    checkRows("Conv", inputs, { group }, { input: 1, axis: 0, rows: [] }, options);
  });
});

describe("gradients of ConvTranspose agree with finite differences", () => {
  it.each([
    [
      "strides and output padding",
      [2, 4, 5, 4],
      [4, 3, 3, 3],
      { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] },
    ],
    ["groups and dilations", [1, 4, 5, 5], [4, 2, 3, 2], { group: 2, dilations: [2, 1] }],
    ["output_shape", [1, 2, 4, 4], [2, 3, 3, 3], { strides: [2, 2], output_shape: [8, 8] }],
  ])("%s", (_name, x, w, attributes) => {
    const channels = w[1] * ("group" in attributes ? 2 : 1);
    checkGradients("ConvTranspose", [double(...x), double(...w), double(channels)], attributes, options);
  });

  it("rows of the weight", () => {
    const inputs = [double(2, 3, 4, 4), double(3, 5, 3, 3)];
    checkRows("ConvTranspose", inputs, { strides: [2, 2] }, { input: 1, axis: 1, rows: [4, 0] }, options);
  });
});

describe("inference of Conv", () => {
  it("keeps a symbolic batch, and symbolic sizes that the window keeps", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["batch", 3, "height", "width"] });
    const y = build.node("Conv", [x, build.constant(random.tensor("float32", [8, 3, 3, 3]))], { pads: [1, 1, 1, 1] });
    expect(build.type(y).shape).toEqual(["batch", 8, "height", "width"]);
  });

  it("refuses channels that do not fit", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [1, 4, 8, 8] });
    const w = build.constant(random.tensor("float32", [8, 3, 3, 3]));
    expect(() => build.node("Conv", [x, w], {}, "/stem")).toThrow(
      'Conv (node "/stem"): its input [1, 4, 8, 8] has 4 channels; its weight [8, 3, 3, 3] in 1 group(s) wants 3.',
    );
  });

  it("refuses a window larger than the padded input", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [1, 3, 2, 8] });
    const w = build.constant(random.tensor("float32", [8, 3, 3, 3]));
    expect(() => build.node("Conv", [x, w])).toThrow(
      "a window of 3 does not fit spatial axis 0 of size 2 with pads 0 and 0",
    );
  });
});

it("the multiply-adds of a convolution and of both its gradients are those of one product", () => {
  const [x, w, y] = [
    [2, 6, 8, 8],
    [4, 3, 3, 3],
    [2, 4, 8, 8],
  ];
  const node = { name: "conv", op: "Conv", inputs: [], outputs: [], attributes: { group: 2 } };
  const expected = { multiplyAdds: 2 * 4 * 8 * 8 * 3 * 9 };
  expect(Conv.cost([x, w], [y], node)).toEqual(expected);
  expect(ConvGradientInput.cost([y, w], [x], node)).toEqual(expected);
  expect(ConvGradientWeight.cost([y, x], [w], node)).toEqual(expected);
  expect(ConvGradientWeight.cost([y, x, [1]], [[1, 3, 3, 3]], node).multiplyAdds).toBe(expected.multiplyAdds / 4);
});
