import { describe, expect, test } from "vitest";
import type { ValueType } from "../ir/graph.ts";
import { zeros } from "../ir/tensor.ts";
import { buildOn } from "./infer.ts";

const image: ValueType = { dtype: "float32", shape: ["batch", 64, 7, 7] };

describe("shape arithmetic is inferred with symbolic sizes", () => {
  test("Shape, Gather, Unsqueeze and Concat give Reshape its target", () => {
    const build = buildOn();
    const x = build.input("x", image);
    const batch = build.node("Gather", [build.node("Shape", [x]), build.constant(zeros("int64", []))], { axis: 0 });
    const target = build.node("Concat", [build.node("Unsqueeze", [batch, build.ints([0])]), build.ints([-1])], {
      axis: 0,
    });
    expect(build.type(target).elements).toEqual(["batch", -1]);
    expect(build.type(build.node("Reshape", [x, target])).shape).toEqual(["batch", 3136]);
  });

  test("0 copies a symbolic size, and -1 takes the rest", () => {
    const build = buildOn();
    const x = build.input("x", image);
    expect(build.type(build.node("Reshape", [x, build.ints([0, -1])])).shape).toEqual(["batch", 3136]);
    expect(build.type(build.node("Reshape", [x, build.ints([-1, 64])])).shape).toEqual(["49*batch", 64]);
    expect(build.type(build.node("Flatten", [x])).shape).toEqual(["batch", 3136]);
  });

  test("channel shuffle keeps the batch", () => {
    const build = buildOn();
    const x = build.input("x", image);
    const shape = build.node("Shape", [x]);
    const channels = build.node("Slice", [shape, build.ints([1]), build.ints([2])]);
    const half = build.node("Div", [channels, build.ints([2])]);
    const head = build.node("Slice", [shape, build.ints([0]), build.ints([1])]);
    const target = build.node("Concat", [head, build.ints([2]), half, build.ints([7, 7])], { axis: 0 });
    const split = build.node("Reshape", [x, target]);
    expect(build.type(split).shape).toEqual(["batch", 2, 32, 7, 7]);
  });

  test("Expand's idiom for -1 is understood", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["batch", 1] });
    const target = build.node("Concat", [build.node("Shape", [x], { end: 1 }), build.ints([5])], { axis: 0 });
    const ones = build.node("ConstantOfShape", [build.ints([2])], {
      value: { dtype: "int64", shape: [1], data: BigInt64Array.of(1n) },
    });
    const isMinusOne = build.node("Equal", [target, build.node("Mul", [ones, build.ints([-1])])]);
    const chosen = build.node("Where", [isMinusOne, ones, target]);
    expect(build.type(chosen).elements).toEqual(["batch", 5]);
    expect(build.type(build.node("Expand", [x, chosen])).shape).toEqual(["batch", 5]);
  });

  test("a shape with a negative size is refused", () => {
    for (const shape of [[-1], [2, -3]]) {
      const build = buildOn();
      expect(() => build.node("ConstantOfShape", [build.ints(shape)])).toThrow(
        `its shape [${shape.join(", ")}] has a negative size.`,
      );
    }
  });

  test("Concat, Slice and Pad add to symbolic sizes", () => {
    const build = buildOn();
    const past = build.input("past", { dtype: "float32", shape: ["batch", "past"] });
    const next = build.input("next", { dtype: "float32", shape: ["batch", 1] });
    const joined = build.node("Concat", [past, next], { axis: 1 });
    expect(build.type(joined).shape).toEqual(["batch", "(past+1)"]);
    const cut = build.node("Slice", [past, build.ints([1]), build.ints([2 ** 40]), build.ints([1])]);
    expect(build.type(cut).shape).toEqual(["batch", "(past-1)"]);
    const whole = build.node("Slice", [
      past,
      build.ints([0]),
      build.node("Shape", [past], { start: 1 }),
      build.ints([-1]),
    ]);
    expect(build.type(whole).shape).toEqual(["batch", "past"]);
    const padded = build.node("Pad", [past, build.ints([0, 2, 0, 1])]);
    expect(build.type(padded).shape).toEqual(["batch", "(past+3)"]);
  });
});

describe("shape errors name the node and the shapes", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [2, 3] });
  test.each([
    [
      "Reshape",
      [x, build.ints([4, -1])],
      {},
      'Reshape (node "Reshape"): cannot reshape [2, 3] to [4, -1]; 6 elements do not divide by 4.',
    ],
    ["Reshape", [x, build.ints([5])], {}, "the numbers of elements 6 and 5 differ"],
    ["Concat", [x, build.scalar(1)], { axis: 0 }, "cannot concatenate [2, 3], [] along axis 0"],
    ["Concat", [x, build.ints([1])], { axis: 0 }, "(int64) differ in type; expected one type."],
    ["Squeeze", [x, build.ints([1])], {}, "axis 1 of [2, 3] is not 1"],
    ["Transpose", [x], { perm: [0, 0] }, "perm [0, 0] does not permute"],
    [
      "Pad",
      [x, build.ints([1, 1, 1, 1])],
      { mode: "mirror" },
      'mode is "mirror"; expected constant, reflect, edge, wrap',
    ],
    ["Softmax", [x], { axis: 2 }, "axis 2 is outside a tensor of 2 axes"],
    ["Add", [x, build.ints([1])], {}, "(int64) differ in type; expected one type."],
    [
      "Dropout",
      [x, undefined, build.constant({ dtype: "bool", shape: [], data: Uint8Array.of(1) })],
      {},
      "training_mode is true",
    ],
  ])("%s", (op, inputs, attributes, message) => {
    expect(() => build.node(op, inputs, attributes)).toThrow(message);
  });

  test("broadcasting", () => {
    const y = build.input("y", { dtype: "float32", shape: [2, 4] });
    expect(() => build.node("Add", [x, y])).toThrow("cannot broadcast [2, 3] with [2, 4].");
  });
});
