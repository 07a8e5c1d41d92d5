import { describe, expect, it } from "vitest";
import { checkGradients } from "../../test/support/gradient-check.ts";
import { createRandom } from "../../test/support/random.ts";
import { kernels } from "../kernels/index.ts";
import { buildOn } from "./infer.ts";

const random = createRandom(14);

describe("gradients of SoftmaxCrossEntropyLoss agree with finite differences", () => {
  it.each([
    ["logits [N, C]", [6, 10], [6]],
    ["logits [N, C, positions]", [2, 5, 3, 4], [2, 3, 4]],
  ])("%s", (_name, shape, labels) => {
    const inputs = [random.tensor("float64", shape), random.integerTensor("int64", labels, 0, 5)];
    checkGradients("SoftmaxCrossEntropyLoss", inputs, {}, { kernels });
    checkGradients("SoftmaxCrossEntropyLoss", inputs, {}, { kernels, outputs: 2, cotangents: [0, 1] });
    checkGradients("SoftmaxCrossEntropyLoss", inputs, { ignore_index: 3 }, { kernels });
  });
});

it("refuses what it does not compute", () => {
  const build = buildOn();
  const logits = build.input("logits", { dtype: "float32", shape: [4, 10] });
  const labels = build.input("labels", { dtype: "int64", shape: [4] });
  expect(() => build.node("SoftmaxCrossEntropyLoss", [logits, labels], { reduction: "sum" })).toThrow(
    'reduction is "sum"; only "mean" is supported.',
  );
});
