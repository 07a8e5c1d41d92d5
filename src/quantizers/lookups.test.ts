// One table that is looked up and multiplied by: the file holds it once, as integers.
import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { exportQuantized, origin } from "../../test/support/export-quantized.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { runModel } from "../../test/support/run-model.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { exportQdq } from "../export/qdq.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { foldConstants } from "../passes/fold-constants.ts";
import { foldQuantizers } from "./fold.ts";
import { recognizeQuantizers } from "./recognize.ts";

const [rows, size] = [40, 24];
const table = createRandom(3).tensor("float32", [rows, size]);
const turned = tensorOf(
  "float32",
  [size, rows],
  Array.from({ length: rows * size }, (_, i) => numbersOf(table)[(i % rows) * size + Math.floor(i / rows)]),
);

type Head = "Gemm of rows" | "Gemm of columns" | "MatMul behind a Transpose";

/** x → indices, some of them negative → rows of the table → their mean over `length` → the head, which multiplies by the table. */
function tied(head: Head, length: number): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", length] });
  const scaled = build.node("Clip", [
    build.node("Mul", [x, build.scalar(20)]),
    build.scalar(-rows),
    build.scalar(rows - 1),
  ]);
  const indices = build.node("Cast", [scaled], { to: "int64" });
  const columns = head === "Gemm of columns";
  const shared = build.constant(columns ? turned : table, "embedding.weight");
  const found = columns
    ? build.node("Transpose", [build.node("Gather", [shared, indices], { axis: 1 })], { perm: [1, 2, 0] }, "embedded")
    : build.node("Gather", [shared, indices], { axis: 0 }, "embedded");
  const mean = build.node("ReduceMean", [build.node("Tanh", [found]), build.ints([1])], { keepdims: 0 });
  const y =
    head === "MatMul behind a Transpose"
      ? build.node("MatMul", [mean, build.node("Transpose", [shared], { perm: [1, 0] })], {}, "y")
      : build.node("Gemm", [mean, shared], { transB: columns ? 0 : 1 }, "y");
  return foldConstants(build.graph([y, found]));
}

/** EfQAT eq. 4, written out: w rounded to a grid around 0 whose end is the row's largest. */
function rounded(bits: number): readonly number[] {
  const values = Array.from(numbersOf(table));
  const high = 2 ** (bits - 1) - 1;
  return values.map((w, i) => {
    const row = values.slice(Math.floor(i / size) * size, (Math.floor(i / size) + 1) * size);
    const scale = Math.fround(Math.max(...row.map(Math.abs)) / high);
    return Math.round(Math.fround(w / scale)) * scale;
  });
}

const heads: readonly Head[] = ["Gemm of rows", "Gemm of columns", "MatMul behind a Transpose"];
const cases = heads.flatMap((head) =>
  (["inputs", "runtime"] as const).flatMap((placement) => [8, 4].map((bits) => [head, placement, bits] as const)),
);

describe("a table that is looked up and multiplied by", () => {
  test.each(cases)(
    "%s, placement %s, %d bits: is in the file once, and gives what it rounds to",
    async (head, placement, bits) => {
      const { bytes, graph, inputs } = await exportQuantized(tied(head, 5), { placement, weights: bits });
      const file = readOnnx(bytes, { name: "tied.onnx" }).graph;
      const large = [...file.constants.values()].filter(({ shape }) => sizeOf(shape) >= rows * size);
      expect(large.map(({ dtype }) => dtype)).toEqual(["int8"]);
      expect(bytes.length).toBeLessThan((rows * size * bits) / 8 + 4 * rows + 4000);

      const outputs = await runModel(bytes, inputs);
      const grid = rounded(bits);
      const found = outputs.get("embedded") as Tensor;
      const x = numbersOf(inputs.get("x") as Tensor);
      const expected = Array.from(x, (value) =>
        Math.trunc(Math.fround(Math.min(rows - 1, Math.max(-rows, Math.fround(value * 20))))),
      ).flatMap((index) => grid.slice(((index + rows) % rows) * size, (((index + rows) % rows) + 1) * size));
      expectClose(found, tensorOf("float32", found.shape, expected));
      const simulated = await runGraph(createReferenceEngine(), graph, inputs);
      expectClose(outputs.get("y") as Tensor, simulated.get("y") as Tensor);
    },
  );

  test.each([...cases, ["Gemm of rows", "inputs", 3] as const, ["Gemm of columns", "runtime", 3] as const])(
    "%s, placement %s, %d bits: is read back as one weight, and written as it was",
    async (head, placement, bits) => {
      const { bytes, inputs } = await exportQuantized(tied(head, 5), { placement, weights: bits });
      const back = recognizeQuantizers(readOnnx(bytes, { name: "tied.onnx" }).graph);
      const large = [...back.constants.values()].filter(({ shape }) => sizeOf(shape) >= rows * size);
      expect(large.map(({ dtype }) => dtype)).toEqual(["float32"]);
      const { model, opset } = exportQdq(
        foldQuantizers(back, placement === "runtime" ? "int32" : "float"),
        origin,
        "packed",
      );
      const again = writeOnnx(model, { opset });
      expect(Math.abs(again.length - bytes.length)).toBeLessThan(400);
      const [first, second] = [await runModel(bytes, inputs), await runModel(again, inputs)];
      for (const [name, value] of first) expectClose(second.get(name) as Tensor, value, { what: name });
    },
  );

  test.each([
    ["activations are floats", { activations: "float" as const }],
    ["scales are of groups", { groupSize: 16 as const }],
  ])("stays in float for lookups where %s", async (_, options) => {
    const { bytes, inputs } = await exportQuantized(tied("Gemm of rows", 3), options);
    const found = (await runModel(bytes, inputs)).get("embedded") as Tensor;
    const float = new Set(numbersOf(table));
    expect([...numbersOf(found)].every((value) => float.has(value))).toBe(true);
  });
});
