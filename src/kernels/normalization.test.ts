import { describe, expect, it } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { checkForward, runKernel } from "../../test/support/forward-check.ts";
import { createRandom } from "../../test/support/random.ts";
import type { Tensor } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

const random = createRandom(5);
const float = (...shape: number[]): Tensor => random.tensor("float32", shape);
const positive = (...shape: number[]): Tensor => random.uniformTensor("float32", shape, 0.5, 2);
const options = { kernels };

describe("normalizations agree with ONNX Runtime", () => {
  it.each([[[2, 3, 4, 5]], [[4, 3]], [[2, 3, 6]]])("BatchNormalization of %o", async (shape) => {
    const inputs = [float(...shape), float(3), float(3), float(3), positive(3)];
    await checkForward("BatchNormalization", inputs, { epsilon: 1e-3 }, options);
  });

  it.each([
    ["the last axis", [2, 5, 8], [8], {}],
    ["two axes", [2, 5, 8], [5, 8], { axis: 1, epsilon: 1e-3 }],
  ])("LayerNormalization over %s", async (_name, x, parameter, attributes) => {
    const inputs = [float(...x), float(...parameter), float(...parameter)];
    await checkForward("LayerNormalization", inputs, attributes, { ...options, outputs: 3 });
    await checkForward("LayerNormalization", inputs.slice(0, 2), attributes, options);
  });

  it("InstanceNormalization", async () => {
    await checkForward("InstanceNormalization", [float(2, 3, 5, 4), float(3), float(3)], { epsilon: 1e-2 }, options);
  });
});

it("BatchNormalizationTraining gives the batch's statistics and what BatchNormalization makes of them", () => {
  const x = random.tensor("float64", [3, 2, 4]);
  const [gamma, beta] = [random.tensor("float64", [2]), random.tensor("float64", [2])];
  const [y, mean, variance] = runKernel("BatchNormalizationTraining", [x, gamma, beta], { epsilon: 1e-3 }, kernels, 3);
  for (const channel of [0, 1]) {
    const values = Array.from(x.data as Float64Array).filter((_, i) => Math.floor(i / 4) % 2 === channel);
    const average = values.reduce((sum, value) => sum + value, 0) / values.length;
    const spread = values.reduce((sum, value) => sum + (value - average) ** 2, 0) / values.length;
    expectClose([Number(mean.data[channel]), Number(variance.data[channel])], [average, spread]);
  }
  const [inferred] = runKernel("BatchNormalization", [x, gamma, beta, mean, variance], { epsilon: 1e-3 }, kernels);
  expect(y).toEqual(inferred);
});
