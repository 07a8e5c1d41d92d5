// Embedding tables that nothing multiplies by: integers in the file, and the rows that they stand for.
import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { exportQuantized } from "../../test/support/export-quantized.ts";
import { createRandom } from "../../test/support/random.ts";
import { runModel } from "../../test/support/run-model.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { buildOn } from "../ops/infer.ts";
import type { QuantizeOptions } from "./quantize-options.ts";

const [rows, size] = [700, 24];
const table = createRandom(3).tensor("float32", [rows, size]);

interface Form {
  readonly shape: readonly number[];
  /** What else reads the table. */
  readonly other: "nothing" | "a second lookup" | "an addition";
}

/** x → indices, some of them negative → rows of the table → a layer. */
function embedded({ shape, other }: Form): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 5] });
  const scaled = build.node("Clip", [
    build.node("Mul", [x, build.scalar(300)]),
    build.scalar(-rows),
    build.scalar(rows - 1),
  ]);
  const indices = build.node("Cast", [scaled], { to: "int64" });
  const weight = build.constant({ ...table, shape }, "words.weight");
  const found = build.node("Gather", [weight, indices], { axis: 0 }, "found");
  const flat = build.node("Reshape", [found, build.ints([0, 5, size])]);
  const projection = build.constant(createRandom(4).tensor("float32", [size, 8]), "projection.weight");
  const outputs = [build.node("MatMul", [flat, projection], {}, "y"), found];
  if (other === "a second lookup") outputs.push(build.node("Gather", [weight, indices], { axis: 0 }, "again"));
  if (other === "an addition") outputs.push(build.node("Add", [weight, build.scalar(1)], {}, "more"));
  return build.graph(outputs);
}

/** w rounded to `high` steps on either side of 0, the last of which is the row's largest. */
function roundedRow(row: number, high: number): readonly number[] {
  const values = Array.from(numbersOf(table).slice(row * size, (row + 1) * size));
  const scale = Math.fround(Math.max(...values.map(Math.abs)) / high);
  return values.map((w) => Math.round(Math.fround(w / scale)) * scale);
}

const tableOf = (bytes: Uint8Array): Tensor | undefined =>
  [...readOnnx(bytes, { name: "embedded.onnx" }).graph.constants.values()].find(
    ({ shape }) => sizeOf(shape) === rows * size,
  );

async function exported(form: Partial<Form>, options: Partial<QuantizeOptions> = {}) {
  const given: Form = { shape: [rows, size], other: "nothing", ...form };
  return exportQuantized(embedded(given), options);
}

describe("an embedding table", () => {
  test.each([
    ["of two axes", { shape: [rows, size] }],
    ["of three axes", { shape: [rows, 4, 6] }],
    ["looked up twice", { other: "a second lookup" as const }],
  ])("%s is integers with a scale for each row, and gives the rows that they stand for", async (_, form) => {
    for (const bits of [8, 4, 3]) {
      const options = bits === 8 ? { weights: 4 } : { layers: { words: bits } };
      const { bytes, inputs } = await exported(form, options);
      expect(tableOf(bytes)).toMatchObject({ dtype: "int8", ...(bits < 8 && { fileBits: bits }) });
      expect(bytes.length).toBeLessThan(rows * ((size * bits) / 8 + 4) + 4000);
      const outputs = await runModel(bytes, inputs);
      const found = outputs.get("found") as Tensor;
      const indices = Array.from(numbersOf(inputs.get("x") as Tensor), (value) =>
        Math.trunc(Math.fround(Math.min(rows - 1, Math.max(-rows, Math.fround(value * 300))))),
      );
      const expected = indices.flatMap((index) => roundedRow((index + rows) % rows, 2 ** (bits - 1) - 1));
      expectClose(found, tensorOf("float32", found.shape, expected));
      const again = outputs.get("again");
      if (again) expect(again.data).toEqual(found.data);
    }
  });

  test.each([
    ["something else reads it", { other: "an addition" as const }, {}],
    ["layers says so", {}, { layers: { words: "float" as const } }],
    ["activations are floats", {}, { activations: "float" as const }],
  ])("stays in float where %s", async (_, form, options) => {
    expect(tableOf((await exported(form, options)).bytes)).toMatchObject({ dtype: "float32", data: table.data });
  });

  test("that no layer's name or table's matches is refused", async () => {
    await expect(exported({}, { layers: { word: "float" } })).rejects.toThrow(
      'layers: "word" matches no layer. The layers are projection, words.',
    );
  });
});
