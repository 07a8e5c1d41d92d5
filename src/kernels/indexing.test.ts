import { describe, expect, test } from "vitest";
import { type Example, int64, int64Scalar, titleOf } from "../../test/gradients/examples/example.ts";
import { indexingExamples } from "../../test/gradients/examples/indexing.ts";
import { runKernel } from "../../test/support/forward-check.ts";
import { checkExample } from "../../test/support/forward-examples.ts";
import { createRandom } from "../../test/support/random.ts";
import { tensorOf } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

const random = createRandom(23);
const float = (...shape: number[]) => random.tensor("float32", shape);
const tied = tensorOf("float32", [2, 4], [1, 3, 3, 0, 2, 2, -1, 2]);
const points = tensorOf("int64", [3, 1], [0, 2, 0]);
const columns = tensorOf("int64", [2, 2], [0, 0, 1, 2]);

test("a depth may have a fraction, and is not negative", () => {
  const node = { name: "n", op: "OneHot", inputs: [], outputs: ["y"], attributes: {} };
  const run = (depth: number) =>
    kernels["OneHot"]([int64(2), tensorOf("float32", [], [depth]), tensorOf("float32", [2], [0, 1])], node);
  expect(run(3.7)[0]?.shape).toEqual([1, 3]);
  expect(() => run(-1)).toThrow("its depth is -1; expected a number of classes.");
});

const others: readonly Example[] = [
  { op: "Gather", name: "int64", inputs: [int64(5, 6, 7), int64(2, 0)] },
  {
    op: "GatherND",
    name: "batch",
    inputs: [float(2, 3, 4), tensorOf("int64", [2, 2, 1], [0, 2, 1, 1])],
    attributes: { batch_dims: 1 },
  },
  ...["mul", "max", "min"].flatMap((reduction): Example[] => [
    { op: "ScatterND", inputs: [float(3, 2), points, float(3, 2)], attributes: { reduction } },
    { op: "ScatterElements", inputs: [float(2, 3), columns, float(2, 2)], attributes: { axis: 1, reduction } },
  ]),
  {
    op: "ScatterND",
    name: "int64",
    inputs: [int64(1, 2, 3), points, int64(5, 6, 7)],
    attributes: { reduction: "add" },
  },
  {
    op: "OneHot",
    inputs: [tensorOf("int64", [2, 2], [0, -1, 5, 2]), int64Scalar(3), tensorOf("float32", [2], [-1, 2])],
  },
  { op: "OneHot", inputs: [int64(1, 0), int64Scalar(2), int64(0, 1)], attributes: { axis: 0 } },
  ...["ArgMax", "ArgMin"].flatMap((op): Example[] => [
    { op, inputs: [tied], attributes: { axis: 1, keepdims: 0 } },
    { op, inputs: [tied], attributes: { axis: -1, select_last_index: 1 } },
    { op, inputs: [tied] },
  ]),
  { op: "TopK", inputs: [tied, int64(3)], outputs: 2 },
  { op: "TopK", inputs: [tied, int64(1)], attributes: { axis: 0, largest: 0 }, outputs: 2 },
  { op: "NonZero", inputs: [tied] },
];

describe("indexing kernels agree with ONNX Runtime", () => {
  const examples = [...indexingExamples, ...others];
  test.each(examples.map((example) => [titleOf(example), example] as const))("%s", (_title, example) =>
    checkExample(example),
  );
});

test("an index out of range names node, index and size", () => {
  expect(() => runKernel("Gather", [float(3, 2), int64(3)], {}, kernels)).toThrow(
    'Gather (node "Gather"): index 3 lies outside an axis of 3 elements.',
  );
});
