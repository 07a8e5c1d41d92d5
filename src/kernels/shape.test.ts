import { describe, expect, test } from "vitest";
import { type Example, int64, int64Scalar, titleOf } from "../../test/gradients/examples/example.ts";
import { shapeExamples } from "../../test/gradients/examples/shape.ts";
import { runKernel } from "../../test/support/forward-check.ts";
import { checkExample } from "../../test/support/forward-examples.ts";
import { createRandom } from "../../test/support/random.ts";
import { tensorOf } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

const random = createRandom(22);
const float = (...shape: number[]) => random.tensor("float32", shape);

const others: readonly Example[] = [
  { op: "Shape", inputs: [float(2, 3, 4)] },
  { op: "Shape", inputs: [float(2, 3, 4)], attributes: { start: -2, end: 100 } },
  { op: "Size", inputs: [float(2, 3, 4)] },
  { op: "Pad", inputs: [float(3, 4), int64(2, 3, 1, 2)], attributes: { mode: "reflect" } },
  { op: "Pad", inputs: [float(3, 4), int64(2, 3, 1, 5)], attributes: { mode: "edge" } },
  { op: "Pad", name: "int64", inputs: [int64(1, 2), int64(1, 2), int64Scalar(7)] },
  { op: "ConstantOfShape", inputs: [int64(2, 3)] },
  { op: "ConstantOfShape", inputs: [int64(2, 0)], attributes: { value: tensorOf("int64", [1], [5]) } },
  { op: "ConstantOfShape", inputs: [int64(3)], attributes: { value: tensorOf("int64", [1], [5]) } },
  { op: "Constant", inputs: [], attributes: { value: float(2, 2) } },
  { op: "Constant", inputs: [], attributes: { value_float: 0.5 } },
  { op: "Constant", inputs: [], attributes: { value_ints: [3, -1] } },
  { op: "Constant", inputs: [], attributes: { value_int: 3 } },
  { op: "Constant", inputs: [], attributes: { value_floats: [3.5, -1] } },
  { op: "Range", inputs: [int64Scalar(2), int64Scalar(11), int64Scalar(3)] },
  { op: "Range", name: "backwards", inputs: [1, -1, -0.5].map((value) => tensorOf("float32", [], [value])) },
  { op: "Slice", name: "int64", inputs: [int64(1, 2, 3, 4), int64(-1), int64(-100), int64(0), int64(-1)] },
  { op: "Concat", name: "int64", inputs: [int64(1, 2), int64(3)], attributes: { axis: 0 } },
  { op: "Expand", name: "fewer axes", inputs: [float(2, 3), int64(3)] },
];

describe("shape kernels agree with ONNX Runtime", () => {
  const examples = [...shapeExamples, ...others].filter(({ op }) => op !== "SliceGradient");
  test.each(examples.map((example) => [titleOf(example), example] as const))("%s", (_title, example) =>
    checkExample(example),
  );
});

test("SliceGradient writes into zeros", () => {
  const attributes = { starts: [3], ends: [-6], axes: [0], steps: [-2], shape: [5] };
  const [dx] = runKernel("SliceGradient", [tensorOf("float32", [2], [1, 2])], attributes, kernels);
  expect([...dx.data]).toEqual([0, 2, 0, 1, 0]);
});
