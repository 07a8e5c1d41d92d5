import { expect, test } from "vitest";
import { int64 } from "../../test/operators/examples/example.ts";
import { runKernel } from "../../test/support/forward-check.ts";
import { createRandom } from "../../test/support/random.ts";
import { tensorOf } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

test("a depth may have a fraction, and is not negative", () => {
  const node = { name: "n", op: "OneHot", inputs: [], outputs: ["y"], attributes: {} };
  const run = (depth: number) =>
    kernels["OneHot"]([int64(2), tensorOf("float32", [], [depth]), tensorOf("float32", [2], [0, 1])], node);
  expect(run(3.7)[0]?.shape).toEqual([1, 3]);
  expect(() => run(-1)).toThrow("its depth is -1; expected a number of classes.");
});

test("an index out of range names node, index and size", () => {
  const table = createRandom(23).tensor("float32", [3, 2]);
  expect(() => runKernel("Gather", [table, int64(3)], {}, kernels)).toThrow(
    'Gather (node "Gather"): index 3 is outside an axis of 3 elements.',
  );
});
