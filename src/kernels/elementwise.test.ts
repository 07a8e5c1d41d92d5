import { describe, expect, test } from "vitest";
import { elementwiseExamples } from "../../test/gradients/examples/elementwise.ts";
import { bool, type Example, titleOf } from "../../test/gradients/examples/example.ts";
import { expectClose } from "../../test/support/close.ts";
import { runKernel } from "../../test/support/forward-check.ts";
import { checkExample } from "../../test/support/forward-examples.ts";
import { runOnnxRuntime } from "../../test/support/onnx-runtime.ts";
import { createRandom } from "../../test/support/random.ts";
import type { DType } from "../ir/dtype.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

const random = createRandom(21);
const ints = (...shape: number[]): Tensor => random.integerTensor("int64", shape, -9, 9);
const halves = tensorOf("float32", [9], [-2.5, -1.5, -0.5, 0, 0.5, 1.5, 2.5, 3.2, -3.7]);
const big = tensorOf("int64", [2, 1], [4, -3]);
const bytes = tensorOf("uint8", [4], [0, 0x55, 0xaa, 0xff]);
const mask = bool([2, 3], [0, 1, 1, 0, 0, 1]);
const special = tensorOf("float32", [4], [Number.NaN, 1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);

const others: readonly Example[] = [
  ...["Add", "Sub", "Mul", "Div", "Mod", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Min", "Max"].map(
    (op) => ({ op, name: "int64", inputs: [ints(2, 5), big] }),
  ),
  ...["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"].map((op) => ({
    op,
    name: "floats",
    inputs: [halves, tensorOf("float32", [], [0.5])],
  })),
  { op: "Mod", name: "int64, as C", inputs: [ints(2, 5), big], attributes: { fmod: 1 } },
  { op: "Div", name: "int32", inputs: [random.integerTensor("int32", [6], -9, 9), tensorOf("int32", [1], [4])] },
  ...["Neg", "Abs", "Sign"].map((op) => ({ op, name: "int64", inputs: [ints(7)] })),
  ...["Round", "Floor", "Ceil", "Sign"].map((op) => ({ op, inputs: [halves] })),
  ...["And", "Or", "Xor"].map((op) => ({ op, inputs: [mask, bool([3], [1, 0, 1])] })),
  { op: "Not", inputs: [mask] },
  { op: "IsNaN", inputs: [special] },
  { op: "IsInf", inputs: [special] },
  { op: "IsInf", inputs: [special], attributes: { detect_positive: 0 } },
  ...["BitwiseAnd", "BitwiseOr", "BitwiseXor"].flatMap((op) => [
    { op, name: "int64", inputs: [ints(2, 5), big] },
    { op, name: "uint8", inputs: [bytes, tensorOf("uint8", [], [0x3c])] },
  ]),
  { op: "BitwiseNot", name: "int64", inputs: [ints(5)] },
  { op: "BitwiseNot", name: "uint8", inputs: [bytes] },
  ...["LEFT", "RIGHT"].flatMap((direction) => [
    { op: "BitShift", name: "uint8", inputs: [bytes, tensorOf("uint8", [4], [0, 1, 3, 7])], attributes: { direction } },
    {
      op: "BitShift",
      name: "uint64",
      inputs: [
        { dtype: "uint64" as const, shape: [2], data: BigUint64Array.of(2n ** 64n - 3n, 5n) },
        tensorOf("uint64", [], [3]),
      ],
      attributes: { direction },
    },
  ]),
  { op: "Relu", name: "special values", inputs: [special] },
  { op: "Where", name: "int64", inputs: [mask, ints(2, 3), ints(1)] },
  { op: "Clip", name: "int64", inputs: [ints(6), tensorOf("int64", [], [-2]), tensorOf("int64", [], [3])] },
  { op: "Pow", name: "int64", inputs: [ints(6), tensorOf("int64", [], [2])] },
  { op: "Erf", name: "large", inputs: [tensorOf("float32", [8], [-7, -5, -2.6, -2.4, 2.4, 2.6, 5, 7])] },
];

const ours = new Set(["ReluGradient", "Cast"]);

describe("elementwise kernels agree with ONNX Runtime", () => {
  const examples = [...elementwiseExamples, ...others].filter(({ op }) => !ours.has(op));
  test.each(examples.map((example) => [titleOf(example), example] as const))("%s", (_title, example) =>
    checkExample(example, {
      widen: { factor: 4, because: "ONNX Runtime approximates transcendental functions in float32" },
    }),
  );
});

describe("Cast agrees with ONNX Runtime", () => {
  const onnxTypes: Partial<Record<DType, number>> = { float32: 1, int8: 3, int32: 6, int64: 7, bool: 9, float64: 11 };
  test.each(Object.entries(onnxTypes))("to %s", async (to, number) => {
    const inputs = [tensorOf("float32", [6], [-3.7, -0.5, 0, 0.5, 2.5, 100.25])];
    const [actual] = runKernel("Cast", inputs, { to }, kernels);
    const [expected] = await runOnnxRuntime({ op: "Cast", outputs: ["y"], attributes: { to: number } }, inputs);
    expectClose(actual, expected as Tensor);
  });
});

test("ReluGradient passes dy where y is positive", () => {
  const dy = tensorOf("float32", [4], [1, 2, 3, 4]);
  const y = tensorOf("float32", [4], [0.5, 0, -1, 2]);
  const [dx] = runKernel("ReluGradient", [dy, y], {}, kernels);
  expect([...dx.data]).toEqual([1, 0, 0, 4]);
});

test("64-bit integers keep every digit", () => {
  const x: Tensor = { dtype: "int64", shape: [1], data: BigInt64Array.of(2n ** 62n + 1n) };
  const [y] = runKernel("Sub", [x, { ...x, data: BigInt64Array.of(2n ** 62n) }], {}, kernels);
  expect(y.data).toEqual(BigInt64Array.of(1n));
});
