import { expect, test } from "vitest";
import { buildOn } from "./infer.ts";

test("NonZero of a value without an axis is refused: ONNX and ONNX Runtime give other shapes", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [] });
  expect(() => build.node("NonZero", [x], {}, "found")).toThrow('NonZero (node "found"): its input has no axis.');
});
