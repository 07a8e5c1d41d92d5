// Each operator that changed between opset 7 and 25: ONNX Runtime runs the old node and what we make of it, in every opset that can express it.
import type { NodeProto, TensorProto } from "onnx-buf";
import { describe, expect, test } from "vitest";
import { FrostbitError } from "../../src/ir/errors.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { downgrades } from "../../src/onnx/downgrade/index.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { upgradedOps, upgrades } from "../../src/onnx/upgrade/index.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { isOpType } from "../../src/ops/index.ts";
import { expectClose } from "../support/close.ts";
import {
  float,
  floats,
  int,
  int64s,
  ints,
  modelBytes,
  node,
  tensorProto,
  text,
  untyped,
  value,
  weights,
} from "../support/onnx-model.ts";
import { createRandom } from "../support/random.ts";
import { runModel } from "../support/run-model.ts";

interface VersionCase {
  readonly name: string;
  readonly opset: number;
  /** Reads x, gives y (and z). */
  readonly nodes: readonly NodeProto[];
  readonly shape?: readonly number[];
  readonly initializers?: readonly TensorProto[];
  readonly outputs?: readonly string[];
  /** The lowest opset that can express it, if that is above the case's own. */
  readonly lowest?: number;
}

const one = (
  op: string,
  attributes: Parameters<typeof node>[3] = {},
  inputs: readonly string[] = ["x"],
): readonly NodeProto[] => [node(op, inputs, ["y"], attributes)];
const perChannel = ["g", "b", "m", "v"].map((name) => weights(name, [3], [0.5, 1.5, 2]));
const norm = ["x", "g", "b", "m", "v"];
const scales = (values: readonly number[]): TensorProto => weights("s", [values.length], values);

const reductions = ["L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"];

const cases: readonly VersionCase[] = [
  { name: "AveragePool 7", opset: 7, nodes: one("AveragePool", { kernel_shape: ints([2, 2]), strides: ints([2, 2]) }) },
  {
    name: "AveragePool 10 with ceil_mode",
    opset: 10,
    nodes: one("AveragePool", { kernel_shape: ints([2, 2]), strides: ints([2, 2]), ceil_mode: int(1) }),
    shape: [1, 3, 5, 5],
  },
  { name: "MaxPool 7", opset: 7, nodes: one("MaxPool", { kernel_shape: ints([3, 3]), pads: ints([1, 1, 1, 1]) }) },
  {
    name: "MaxPool 10 with dilations",
    opset: 10,
    nodes: one("MaxPool", { kernel_shape: ints([2, 2]), dilations: ints([2, 2]) }),
  },
  {
    name: "BatchNormalization 7 with spatial",
    opset: 7,
    nodes: one("BatchNormalization", { spatial: int(1), epsilon: float(0.01) }, norm),
    initializers: perChannel,
  },
  {
    name: "BatchNormalization 9",
    lowest: 7,
    opset: 9,
    nodes: one("BatchNormalization", {}, norm),
    initializers: perChannel,
  },
  {
    name: "BatchNormalization 14",
    lowest: 7,
    opset: 14,
    nodes: one("BatchNormalization", { training_mode: int(0) }, norm),
    initializers: perChannel,
  },
  { name: "Clip 7", opset: 7, nodes: one("Clip", { min: float(-0.5), max: float(0.75) }) },
  { name: "Clip 7 without min", opset: 7, nodes: one("Clip", { max: float(0.75) }) },
  { name: "Clip 7 without bounds", opset: 7, nodes: one("Clip") },
  { name: "Concat 7", opset: 7, nodes: one("Concat", { axis: int(1) }, ["x", "x"]) },
  { name: "Dropout 7", opset: 7, nodes: one("Dropout", { ratio: float(0.5) }) },
  { name: "Dropout 10 whose mask is left", lowest: 7, opset: 10, nodes: [node("Dropout", ["x"], ["y", "unused"])] },
  {
    name: "Dropout 12 whose mask is used",
    lowest: 9,
    opset: 12,
    nodes: [node("Dropout", ["x"], ["y", "z"])],
    outputs: ["y", "z"],
  },
  { name: "Flatten 9", lowest: 7, opset: 9, nodes: one("Flatten", { axis: int(2) }) },
  { name: "Flatten 11 with a negative axis", lowest: 7, opset: 11, nodes: one("Flatten", { axis: int(-1) }) },
  {
    name: "Gemm 7",
    opset: 7,
    nodes: one("Gemm", { alpha: float(0.5), transB: int(1) }, ["x", "w", "c"]),
    shape: [2, 3],
    initializers: [weights("w", [4, 3]), weights("c", [4])],
  },
  {
    name: "Gemm 11 without bias",
    opset: 11,
    nodes: one("Gemm", {}, ["x", "w"]),
    shape: [2, 3],
    initializers: [weights("w", [3, 4])],
    lowest: 7,
  },
  ...[["Softmax", 7] as const, ["LogSoftmax", 7] as const, ["Hardmax", 9] as const].flatMap(([op, lowest]) => [
    { name: `${op} 7 over the last axis`, opset: 7, nodes: one(op, { axis: int(3) }), lowest },
    { name: `${op} 7 over all but the first axis`, opset: 7, nodes: one(op), lowest },
    { name: `${op} 11 from a negative axis on`, opset: 11, nodes: one(op, { axis: int(-2) }), lowest },
    { name: `${op} 7 over everything`, opset: 7, nodes: one(op, { axis: int(0) }), lowest },
    {
      name: `${op} 7 with sizes of 1 after the axis`,
      opset: 7,
      nodes: one(op, { axis: int(1) }),
      shape: [2, 5, 1, 1],
      lowest,
    },
    { name: `${op} 13 over a middle axis`, opset: 13, nodes: one(op, { axis: int(1) }), lowest },
  ]),
  {
    name: "OneHot 9",
    opset: 9,
    nodes: [node("Cast", ["x"], ["i"], { to: int(7) }), node("OneHot", ["i", "d", "o"], ["y"])],
    shape: [3],
    initializers: [int64s("d", [4]), weights("o", [2], [0, 1])],
  },
  { name: "Pad 7", opset: 7, nodes: one("Pad", { pads: ints([0, 0, 1, 1, 0, 0, 2, 0]), value: float(1.5) }) },
  {
    name: "Pad 7 that reflects",
    opset: 7,
    nodes: one("Pad", { pads: ints([0, 0, 1, 1, 0, 0, 2, 0]), mode: text("reflect") }),
  },
  {
    name: "Pad 18 with axes",
    opset: 18,
    nodes: one("Pad", {}, ["x", "p", "", "a"]),
    initializers: [int64s("p", [1, 2]), int64s("a", [-1])],
    lowest: 7,
  },
  ...reductions.flatMap((op) => [
    {
      name: `Reduce${op} 11 with axes`,
      opset: 11,
      nodes: [node("Abs", ["x"], ["p"]), node(`Reduce${op}`, ["p"], ["y"], { axes: ints([2, -1]) })],
      lowest: 7,
    },
    {
      name: `Reduce${op} 7 of everything`,
      opset: 7,
      nodes: [node("Abs", ["x"], ["p"]), node(`Reduce${op}`, ["p"], ["y"], { keepdims: int(0) })],
    },
  ]),
  {
    name: "ReduceSum 13 without axes that does nothing",
    opset: 13,
    nodes: one("ReduceSum", { noop_with_empty_axes: int(1) }),
    lowest: 13,
  },
  {
    name: "Resize 10 that grows",
    lowest: 7,
    opset: 10,
    nodes: one("Resize", { mode: text("nearest") }, ["x", "s"]),
    initializers: [scales([1, 1, 2, 1.5])],
  },
  {
    name: "Resize 10 that shrinks",
    opset: 10,
    nodes: one("Resize", {}, ["x", "s"]),
    shape: [1, 3, 8, 8],
    initializers: [scales([1, 1, 0.5, 0.75])],
  },
  {
    name: "Resize 10, linear",
    lowest: 7,
    opset: 10,
    nodes: one("Resize", { mode: text("linear") }, ["x", "s"]),
    initializers: [scales([1, 1, 2, 2])],
  },
  {
    name: "Resize 11 by scales",
    opset: 11,
    nodes: one("Resize", { mode: text("linear") }, ["x", "r", "s"]),
    initializers: [weights("r", [0]), scales([1, 1, 2, 2])],
  },
  {
    name: "Resize 11 to sizes",
    opset: 11,
    nodes: one(
      "Resize",
      { mode: text("nearest"), nearest_mode: text("floor"), coordinate_transformation_mode: text("asymmetric") },
      ["x", "r", "e", "t"],
    ),
    initializers: [weights("r", [0]), weights("e", [0]), int64s("t", [1, 3, 8, 8])],
    lowest: 7,
  },
  {
    name: "Resize 13 by scales",
    opset: 13,
    nodes: one("Resize", { mode: text("nearest") }, ["x", "", "s"]),
    initializers: [scales([1, 1, 2, 2])],
    lowest: 11,
  },
  {
    name: "Scatter 9",
    opset: 9,
    nodes: one("Scatter", { axis: int(1) }, ["x", "i", "u"]),
    shape: [2, 5],
    initializers: [tensorProto({ name: "i", dims: [1n, 2n], dataType: 7, int64Data: [1n, 3n] }), weights("u", [1, 2])],
  },
  {
    name: "Slice 7",
    opset: 7,
    nodes: one("Slice", { axes: ints([2, 3]), starts: ints([1, -2]), ends: ints([3, Number.MAX_SAFE_INTEGER]) }),
  },
  { name: "Slice 7 without axes", opset: 7, nodes: one("Slice", { starts: ints([0, 1]), ends: ints([1, 3]) }) },
  {
    name: "Slice 10 with steps",
    opset: 10,
    nodes: one("Slice", {}, ["x", "b", "e", "a", "t"]),
    initializers: [int64s("b", [3]), int64s("e", [0]), int64s("a", [2]), int64s("t", [-1])],
  },
  {
    name: "Slice 10 with steps of 1",
    opset: 10,
    nodes: one("Slice", {}, ["x", "b", "e", "a", "t"]),
    initializers: [int64s("b", [1]), int64s("e", [3]), int64s("a", [2]), int64s("t", [1])],
    lowest: 7,
  },
  {
    name: "Split 7 with sizes",
    opset: 7,
    nodes: [node("Split", ["x"], ["y", "z"], { axis: int(1), split: ints([1, 2]) })],
    outputs: ["y", "z"],
  },
  {
    name: "Split 7 in halves",
    opset: 7,
    nodes: [node("Split", ["x"], ["y", "z"], { axis: int(2) })],
    outputs: ["y", "z"],
  },
  {
    name: "Split 13 in halves",
    opset: 13,
    nodes: [node("Split", ["x"], ["y", "z"], { axis: int(-1) })],
    outputs: ["y", "z"],
    lowest: 7,
  },
  {
    name: "Split 18 in unequal parts",
    opset: 18,
    nodes: [node("Split", ["x"], ["y", "z"], { axis: int(1), num_outputs: int(2) })],
    outputs: ["y", "z"],
    lowest: 7,
  },
  { name: "Squeeze 7", opset: 7, nodes: one("Squeeze", { axes: ints([0]) }) },
  { name: "Squeeze 7 of every size of 1", opset: 7, nodes: one("Squeeze") },
  { name: "Unsqueeze 11", opset: 11, nodes: one("Unsqueeze", { axes: ints([0, -1]) }), lowest: 7 },
  {
    name: "TopK 7",
    opset: 7,
    nodes: [node("TopK", ["x"], ["y", "z"], { k: int(2), axis: int(-1) })],
    outputs: ["y", "z"],
  },
  {
    name: "TopK 10",
    opset: 10,
    nodes: [node("TopK", ["x", "k"], ["y", "z"])],
    initializers: [int64s("k", [2])],
    outputs: ["y", "z"],
    lowest: 7,
  },
  {
    name: "TopK 11, smallest",
    opset: 11,
    nodes: [node("TopK", ["x", "k"], ["y", "z"], { largest: int(0) })],
    initializers: [int64s("k", [2])],
    outputs: ["y", "z"],
  },
  { name: "Upsample 7", opset: 7, nodes: one("Upsample", { scales: floats([1, 1, 2, 3]) }) },
  {
    name: "Upsample 9, linear",
    opset: 9,
    nodes: one("Upsample", { mode: text("linear") }, ["x", "s"]),
    initializers: [scales([1, 1, 2, 2])],
    lowest: 7,
  },
  { name: "Max 7 of equal shapes", opset: 7, nodes: one("Max", {}, ["x", "x"]) },
  { name: "Max 8 that broadcasts", opset: 8, nodes: one("Max", {}, ["x", "w"]), initializers: [weights("w", [4])] },
  ...(["Less", "Max"] as const).map((op) => ({
    name: `${op} 13 of integers`,
    opset: 13,
    nodes: [
      node("Cast", ["x"], ["i"], { to: int(6) }),
      node("Neg", ["i"], ["j"]),
      node(op, ["i", "j"], ["m"]),
      node("Cast", ["m"], ["y"], { to: int(1) }, { name: "back" }),
    ],
    lowest: op === "Less" ? 9 : 12,
  })),
  {
    name: "Equal 11 of floats",
    opset: 11,
    nodes: [node("Equal", ["x", "x"], ["e"]), node("Cast", ["e"], ["y"], { to: int(1) })],
  },
  { name: "Reshape 7", opset: 7, nodes: one("Reshape", {}, ["x", "r"]), initializers: [int64s("r", [0, -1])] },
];

const opsets = Array.from({ length: 18 }, (_, i) => 7 + i);

describe("operators that changed", () => {
  for (const { name, opset, nodes, shape = [1, 3, 4, 4], initializers = [], outputs = ["y"], lowest = opset } of cases)
    test(`${name} computes the same in every opset from ${lowest} on, and is refused below`, async () => {
      const bytes = modelBytes({
        nodes,
        initializers,
        opset,
        inputs: [value("x", shape)],
        outputs: outputs.map(untyped),
      });
      const inputs = new Map([["x", createRandom(3).tensor("float32", shape)]]);
      const expected = await runModel(bytes, inputs);
      const model = readOnnx(bytes, { name: "old.onnx" });
      for (const target of opsets) {
        if (target < lowest) {
          expect(() => writeOnnx(model, { opset: target }), `opset ${target}`).toThrow(
            /Write it in opset \d+ or newer/,
          );
          continue;
        }
        const actual = await runModel(writeOnnx(model, { opset: target }), inputs);
        for (const output of outputs)
          expectClose(actual.get(output) as Tensor, expected.get(output) as Tensor, {
            what: `${output} in opset ${target}`,
          });
      }
    });
});

test("a rule is for an operator that is known, or that upgrading replaces", () => {
  for (const op of [...Object.keys(upgrades), ...Object.keys(downgrades)])
    expect(isOpType(op) || upgradedOps.has(op), op).toBe(true);
});

describe("forms that have no newer meaning are refused by name", () => {
  const refuse = (
    opset: number,
    nodes: readonly NodeProto[],
    message: RegExp,
    initializers: readonly TensorProto[] = [],
  ): void => {
    const bytes = modelBytes({ nodes, opset, initializers, inputs: [value("x", [1, 3, 4, 4])] });
    expect(() => readOnnx(bytes, { name: "old.onnx" })).toThrow(FrostbitError);
    expect(() => readOnnx(bytes, { name: "old.onnx" })).toThrow(message);
  };
  test("statistics per position", () =>
    refuse(
      7,
      one("BatchNormalization", { spatial: int(0) }, norm),
      /BatchNormalization .* of opset 7: .*spatial = 0/,
      perChannel,
    ));
  test("batch normalization in training mode, as opset 9 says it", () =>
    refuse(9, [node("BatchNormalization", norm, ["y", "a", "b1", "c", "d"])], /training mode/, perChannel));
  test("dropout in training mode", () =>
    refuse(13, one("Dropout", {}, ["x", "", "t"]), /Dropout .* training mode/, [
      tensorProto({ name: "t", dims: [], dataType: 9, int32Data: [1] }),
    ]));
  test("Resize 10 that both grows and shrinks", () =>
    refuse(10, one("Resize", {}, ["x", "s"]), /both grow and shrink/, [scales([1, 1, 2, 0.5])]));
  test("a Resize mode that opset 13 dropped", () =>
    refuse(
      11,
      one("Resize", { coordinate_transformation_mode: text("tf_half_pixel_for_nn") }, ["x", "r", "s"]),
      /tf_half_pixel_for_nn/,
      [weights("r", [0]), scales([1, 1, 2, 2])],
    ));
});
