import { expect, test } from "vitest";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { bytesOfWeights, peakBytes } from "./peak-bytes.ts";

test("values live from the node that gives them to the last that reads them", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [10] });
  const wide = build.node("Expand", [x, build.ints([5, 10])]);
  const second = build.node("Relu", [wide]);
  const third = build.node("Relu", [second]);
  const sum = build.node("Add", [third, wide]);
  const graph = build.graph([build.node("ReduceSum", [sum], { keepdims: 0 })]);
  // x and the output throughout; while the sum is made, what it adds and itself.
  expect(peakBytes(graph)).toBe(40 + 4 + 3 * 200);
});

test("what nothing reads lives as long as the node that gives it", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [10] });
  const nodes = [1, 2, 3].map(() => build.node("Relu", [x]));
  expect(peakBytes(build.graph([nodes[2]]))).toBe(40 + 40 + 40);
});

test("weights are counted apart, by their own types", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [2, 8] });
  const w = build.constant(tensorOf("float32", [8, 4], new Array<number>(32).fill(1)), "w");
  const graph = build.graph([build.node("MatMul", [x, w])]);
  expect(bytesOfWeights(graph)).toBe(128);
  expect(peakBytes(graph)).toBe(64 + 32);
});

test("a value in another shape takes no memory of its own, and lives as long as what has it", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [10] });
  const wide = build.node("Expand", [x, build.ints([5, 10])]);
  const flat = build.node("Reshape", [build.node("Identity", [wide]), build.ints([50])]);
  const last = build.node("Relu", [build.node("Relu", [x])]);
  const sum = build.node("ReduceSum", [flat], { keepdims: 0 });
  // x and both outputs; the wide value is still there when the second Relu is made from the first.
  expect(peakBytes(build.graph([sum, last]))).toBe(40 + 4 + 40 + 200 + 40);
});
