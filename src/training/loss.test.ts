import { describe, expect, test } from "vitest";
import { buildOn } from "../ops/infer.ts";
import { logitsOf } from "./loss.ts";

const start = () => {
  const build = buildOn();
  return { build, x: build.input("x", { dtype: "float32", shape: ["N", 4] }) };
};

describe("the loss is taken", () => {
  test("of the first output", () => {
    const { build, x } = start();
    expect(logitsOf(build.graph([build.node("Relu", [x], {}, "scores")]))).toBe("scores");
  });
  test("of what a final Softmax reads", () => {
    const { build, x } = start();
    expect(logitsOf(build.graph([build.node("Softmax", [x])]))).toBe("x");
  });
  test("of what a final Softmax reads that is written as exponentials over their sum", () => {
    const { build, x } = start();
    const largest = build.node("ReduceMax", [x, build.ints([1])]);
    const shifted = build.node("Sub", [x, largest], {}, "shifted");
    const exponentials = build.node("Exp", [shifted]);
    const sum = build.node("ReduceSum", [exponentials, build.ints([1])], { keepdims: 0 });
    const column = build.node("Unsqueeze", [sum, build.ints([1])]);
    expect(logitsOf(build.graph([build.node("Div", [exponentials, column])]))).toBe("shifted");
  });
  test("of a quotient of other exponentials itself", () => {
    const { build, x } = start();
    const sum = build.node("ReduceSum", [x, build.ints([1])]);
    expect(logitsOf(build.graph([build.node("Div", [build.node("Exp", [x]), sum], {}, "scores")]))).toBe("scores");
  });
  test("not of images", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 3, 8, 8] });
    expect(() => logitsOf(build.graph([build.node("Relu", [x], {}, "image")]))).toThrow(
      "The model's first output \"image\" has shape [N, 3, 8, 8]; a classifier's is [batch, classes].",
    );
  });
});
