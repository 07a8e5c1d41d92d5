import { expect, test } from "vitest";
import type { DType } from "../ir/dtype.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { shareTables } from "./share-tables.ts";

/** x → rows of a table of 2 × 3 → times a matrix of 3 × 2. */
function lookedUp(dtype: DType, matrix: readonly number[]): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "int64", shape: ["N"] });
  const table = build.constant(tensorOf(dtype, [2, 3], [1, 2, 3, 4, 5, 6]), "table");
  const rows = build.node("Gather", [table, x], { axis: 0 });
  return build.graph([build.node("MatMul", [rows, build.constant(tensorOf(dtype, [3, 2], matrix), "matrix")])]);
}

test.each([
  ["the transposed table", [1, 4, 2, 5, 3, 6], ["matrix"]],
  ["another matrix", [1, 4, 2, 7, 3, 6], ["table", "matrix"]],
  ["the table in its own order", [1, 2, 3, 4, 5, 6], ["table", "matrix"]],
])("of a product with %s", (_, matrix, expected) => {
  expect([...shareTables(lookedUp("float32", matrix)).constants.keys()].toSorted()).toEqual(expected.toSorted());
});

test("tables of whole numbers are left alone", () => {
  const graph = lookedUp("int64", [1, 4, 2, 5, 3, 6]);
  expect(shareTables(graph)).toBe(graph);
});
