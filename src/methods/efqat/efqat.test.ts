import { expect, test } from "vitest";
import { quantizeTiny, tinyClassifier } from "../../../test/support/tiny-classifier.ts";
import { tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { weightsOf } from "../../quantizers/linear-layers.ts";
import { efqat, noteOfIdlePlan } from "./efqat.ts";
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

test.each([
  ["lwpn", 0.3, "less than one layer: no weights train"],
  ["cwpl", 0.1, "less than one channel of any layer: no weights train"],
  ["cwpn", 0.05, "less than one channel: no weights train"],
] as const)("%s of a ratio that no block is as small as says that nothing trains", (mode, updateRatio, message) => {
  const graph = quantizeTiny(tinyClassifier());
  const noteFor = (ratio: number): string | undefined => {
    const options = efqatOptions.parse({ mode, updateRatio: ratio });
    return noteOfIdlePlan(efqat(graph, { ...options, seed: 0 }).select(weightsOf(graph), 0), options);
  };
  expect(noteFor(updateRatio)).toContain(message);
  expect(noteFor(0)).toBeUndefined();
  expect(noteFor(0.5)).toBeUndefined();
});
