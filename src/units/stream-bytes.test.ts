import { expect, test } from "vitest";
import { zeros } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { streamBytes } from "./stream-bytes.ts";

test("two models hold what enters and leaves a unit, and what a later unit reads", () => {
  const build = buildOn();
  const linear = (from: string, inputs: number, outputs: number): string =>
    build.node("MatMul", [from, build.constant(zeros("float32", [inputs, outputs]))]);
  const x = build.input("x", { dtype: "float32", shape: ["N", 10] });
  const first = build.node("Relu", [linear(x, 10, 30)]);
  const second = build.node("Relu", [linear(first, 30, 20)]);
  const graph = build.graph([linear(build.node("Concat", [first, second], { axis: 1 }), 50, 5)]);
  // The most while the last layer runs: 30 and 20 numbers come in, 5 go out.
  expect(streamBytes(graph, "layer", 7)).toBe(2 * 7 * 4 * (30 + 20 + 5));
  expect(streamBytes(graph, "network", 7)).toBe(2 * 7 * 4 * (10 + 5));
});
