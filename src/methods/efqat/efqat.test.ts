import { expect, test } from "vitest";
import { tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { efqat } from "./efqat.ts";
import { efqatOptions } from "./options.ts";

test("a weight that two layers share is one set of blocks", () => {
  const build = buildOn();
  const shared = tensorOf("float32", [4, 4], [9, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0]);
  const other = tensorOf("float32", [4, 4], [5, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0]);
  const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
  const weight = build.constant(shared, "shared");
  const first = build.node("Gemm", [x, weight], { transB: 1 }, "first");
  const second = build.node("Gemm", [first, weight], { transB: 1 }, "second");
  const graph = build.graph([build.node("Gemm", [second, build.constant(other, "w")], { transB: 1 }, "last")]);
  const options = { ...efqatOptions.parse({ updateRatio: 0.75 }), seed: 0 };
  const plan = efqat(graph, options).select(graph.constants, 0);
  expect([...plan]).toEqual([
    ["shared", Int32Array.of(0, 1, 2, 3)],
    ["w", Int32Array.of(0, 1)],
  ]);
});
