import { expect, test } from "vitest";
import { buildOn } from "../ops/infer.ts";
import { batchThatFits, bytesPerSample } from "./batch-that-fits.ts";

function graphOf(size: number) {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 1, size, size] });
  return build.graph([build.node("Relu", [x], {}, "y")]);
}

test("a sample's bytes are those of all values that are not constants", () => {
  expect(bytesPerSample(graphOf(10))).toBe(2 * 100 * 4);
});

test("small values run many at once, large ones as many as fit, one at least", () => {
  expect(batchThatFits(graphOf(10), 250)).toBe(250);
  expect(batchThatFits(graphOf(4096), 250)).toBe(24);
  expect(batchThatFits(graphOf(100_000), 250)).toBe(1);
});
