import { describe, it } from "vitest";
import { checkForward } from "../../test/support/forward-check.ts";
import { createRandom } from "../../test/support/random.ts";
import { kernels } from "./index.ts";

const random = createRandom(13);

describe("SoftmaxCrossEntropyLoss agrees with ONNX Runtime", () => {
  it.each([
    ["logits [N, C]", [6, 10], [6]],
    ["logits [N, C, positions]", [2, 5, 3, 4], [2, 3, 4]],
  ])("%s", async (_name, shape, labels) => {
    const inputs = [random.tensor("float32", shape), random.integerTensor("int64", labels, 0, 5)];
    await checkForward("SoftmaxCrossEntropyLoss", inputs, { reduction: "mean" }, { kernels, outputs: 2 });
    await checkForward("SoftmaxCrossEntropyLoss", inputs, {}, { kernels });
    await checkForward("SoftmaxCrossEntropyLoss", inputs, { ignore_index: 3 }, { kernels, outputs: 2 });
  });
});
