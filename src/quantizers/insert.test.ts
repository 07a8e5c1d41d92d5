import { expect, test } from "vitest";
import { quantizeTiny } from "../../test/support/tiny-classifier.ts";
import { numbersOf, scalar, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { quantizersOf } from "./quantizer.ts";

test("names that the graph has keep what they hold", () => {
  const build = buildOn();
  const weight = tensorOf("float32", [2, 2], [1, 2, 3, 4]);
  const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
  const taken = ["linear.weight_scale", "linear.input_scale", "float32:0", "linear.input_quantized"];
  const sum = taken.reduce(
    (value, name, i) => build.node("Add", [value, build.constant(scalar("float32", 10 + i), name)]),
    x,
  );
  const product = build.node("MatMul", [sum, build.constant(weight, "linear.weight")], {}, "logits");
  const graph = quantizeTiny(build.graph([product]));
  expect(taken.map((name) => numbersOf(graph.constants.get(name) ?? scalar("float32", 0))[0])).toEqual([
    10, 11, 12, 13,
  ]);
  expect(quantizersOf(graph).map(({ value, scale, output }) => [value, scale, output])).toEqual([
    ["linear.weight", "linear.weight_scale_1", "linear.weight_quantized"],
    [sum, "linear.input_scale_1", "linear.input_quantized_1"],
  ]);
});
