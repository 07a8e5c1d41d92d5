import { describe, test } from "vitest";
import { type Example, int64, titleOf } from "../../test/gradients/examples/example.ts";
import { reductionExamples } from "../../test/gradients/examples/reduction.ts";
import { checkExample } from "../../test/support/forward-examples.ts";
import { tensorOf } from "../ir/tensor.ts";

const others: readonly Example[] = [
  ...["ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin"].map((op) => ({
    op,
    name: "int64",
    inputs: [tensorOf("int64", [2, 3], [3, -2, 5, 1, 4, 2]), int64(1)],
  })),
  { op: "Softmax", name: "large values", inputs: [tensorOf("float32", [3], [1000, 1001, 999])] },
  { op: "LogSoftmax", name: "large values", inputs: [tensorOf("float32", [3], [1000, 1001, 999])] },
  { op: "ReduceLogSumExp", name: "large values", inputs: [tensorOf("float32", [3], [1000, 1001, 999])] },
];

describe("reduction kernels agree with ONNX Runtime", () => {
  const examples = [...reductionExamples, ...others];
  test.each(examples.map((example) => [titleOf(example), example] as const))("%s", (_title, example) =>
    checkExample(example),
  );
});
