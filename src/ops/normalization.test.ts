import { describe, it } from "vitest";
import { checkGradients } from "../../test/support/gradient-check.ts";
import { createRandom } from "../../test/support/random.ts";
import type { Tensor } from "../ir/tensor.ts";
import { kernels } from "../kernels/index.ts";

const random = createRandom(6);
const double = (...shape: number[]): Tensor => random.tensor("float64", shape);
const positive = (...shape: number[]): Tensor => random.uniformTensor("float64", shape, 0.5, 2);

describe("gradients of normalizations agree with finite differences", () => {
  it.each([[[2, 3, 4, 5]], [[4, 3]], [[2, 3, 6]]])("BatchNormalization of %o", (shape) => {
    const inputs = [double(...shape), double(3), double(3), double(3), positive(3)];
    checkGradients("BatchNormalization", inputs, { epsilon: 1e-3 }, { kernels });
    checkGradients("BatchNormalization", inputs, {}, { kernels, wanted: [1, 2] });
  });

  it.each([[[2, 3, 4, 5]], [[4, 3]], [[2, 3, 6]]])("BatchNormalizationTraining of %o", (shape) => {
    const inputs = [double(...shape), double(3), double(3)];
    checkGradients("BatchNormalizationTraining", inputs, { epsilon: 1e-3 }, { kernels, outputs: 3 });
    checkGradients("BatchNormalizationTraining", inputs, {}, { kernels, outputs: 3, wanted: [2] });
  });

  it.each([
    ["the last axis", [2, 5, 8], [8], {}],
    ["two axes", [2, 5, 8], [5, 8], { axis: 1, epsilon: 1e-3 }],
  ])("LayerNormalization over %s", (_name, x, parameter, attributes) => {
    const inputs = [double(...x), double(...parameter), double(...parameter)];
    checkGradients("LayerNormalization", inputs, attributes, { kernels, outputs: 3 });
    checkGradients("LayerNormalization", inputs, attributes, { kernels, wanted: [1] });
  });

  it("InstanceNormalization", () => {
    checkGradients("InstanceNormalization", [double(2, 3, 5, 4), double(3), double(3)], {}, { kernels });
  });
});
