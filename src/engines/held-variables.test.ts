import { expect, test } from "vitest";
import { scalar, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { areHeldBy, createHeldVariables } from "./held-variables.ts";
import { createReferenceEngine } from "./reference/reference-engine.ts";

test("what is read, written or given is a copy", async () => {
  const given = tensorOf("float32", [2], [1, 2]);
  const variables = createHeldVariables("some", new Map([["w", given]]));
  given.data[0] = 9;
  const read = await variables.read("w");
  read.data[1] = 9;
  expect([...(await variables.read("w")).data]).toEqual([1, 2]);
});

test("variables stay with the engine that made them", async () => {
  const others = createHeldVariables("onnxruntime", new Map([["w", scalar("float32", 1)]]));
  expect([areHeldBy("onnxruntime", others), areHeldBy("reference", others)]).toEqual([true, false]);
  const build = buildOn();
  const graph = build.graph([build.node("Relu", [build.input("x", { dtype: "float32", shape: [] })])]);
  const executable = await createReferenceEngine().compile(graph);
  expect(() => executable.bind(others)).toThrow();
});
