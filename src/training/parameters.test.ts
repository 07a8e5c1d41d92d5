import { expect, test } from "vitest";
import { quantizeTiny } from "../../test/support/tiny-classifier.ts";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { parametersOf } from "./parameters.ts";

test.each(["inputs", "runtime"] as const)("a bias added to a MatMul trains in placement %s", (placement) => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
  const weight = build.constant(tensorOf("float32", [2, 2], [1, 2, 3, 4]), "linear.weight");
  const bias = build.constant(tensorOf("float32", [2], [1, 2]), "linear.bias");
  const sum = build.node("Add", [build.node("MatMul", [x, weight], {}, "linear"), bias], {}, "sum");
  const parameters = parametersOf(quantizeTiny(build.graph([sum]), { placement }));
  expect(parameters.find(({ role }) => role === "bias")?.name).toBe("linear.bias");
});

test.each([
  ["GroupNormalization", ["scale", "bias"], { num_groups: 2 }],
  ["RMSNormalization", ["scale"], {}],
])("the parameters of %s train", (op, names, attributes) => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 4, 4] });
  const constants = names.map((name) => build.constant(tensorOf("float32", [4], [1, 2, 3, 4]), name));
  const graph = build.graph([build.node(op, [x, ...constants], attributes)]);
  expect(parametersOf(graph)).toEqual(names.map((name) => ({ name, role: "norm" })));
});
