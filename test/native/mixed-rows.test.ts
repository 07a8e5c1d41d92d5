// Training of chosen rows in mixed precision against the reference engine: none, a few, and all of every layer.
import { describe, expect, test } from "vitest";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { numbersOf, sizeOf, type Tensor } from "../../src/ir/tensor.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { quantized } from "../models/quantized.ts";
import { batchFor, type TinyModel, tinyModels } from "../models/tiny-models.ts";
import { type Rows, trainOn } from "../models/train.ts";
import { sqnr } from "../support/close.ts";
import { isNativeBuilt, notBuilt } from "../support/native.ts";
import { tinyClassifier } from "../support/tiny-classifier.ts";

const engine = createNativeEngine();
const hasMixed = isNativeBuilt && engine.precisions?.includes("mixed") === true;
const whyNot = hasMixed ? "" : ` (${isNativeBuilt ? "the processor has no bfloat16" : notBuilt})`;

const residual: TinyModel = {
  ...tinyModels[0],
  name: "a residual network",
  build: (dtype) => tinyClassifier(dtype, 1, 16),
};

/** Batches so large that products are bfloat16 ones and threads divide them. */
const models: readonly (readonly [model: TinyModel, batch: number])[] = [
  [residual, 48],
  [{ ...tinyModels[2], name: "a transformer" }, 640],
];

const choices: Readonly<Record<string, (rows: readonly number[]) => readonly number[]>> = {
  none: () => [],
  "the last": (rows) => rows.slice(-1),
  "every third": (rows) => rows.filter((row) => row % 3 === 1),
  all: (rows) => rows,
};

describe.skipIf(!hasMixed).each(models)(`rows of $name in mixed precision${whyNot}`, (model, batch) => {
  test.each(Object.entries(choices))("%s change as the reference engine changes them", async (_, choose) => {
    const graph = await quantized(model, "float32", { weights: 4, activations: 8 });
    const layers = linearLayers(graph);
    const rowsOf = (weight: string, axis: number): readonly number[] =>
      choose(Array.from({ length: graph.constants.get(weight)?.shape[axis] ?? 0 }, (_, row) => row));
    const rows: Rows = new Map(layers.map(({ weight, rowAxis }) => [weight, rowsOf(weight, rowAxis)]));
    const plan = new Map(layers.map(({ weight }) => [weight, "rows"] as const));
    const images = batchFor(model, "float32", batch);
    const [mixed, exact] = await Promise.all([
      trainOn(images, graph, { engine, dtype: "float32", precision: "mixed", threads: 3, plan, rows }),
      trainOn(images, graph, { engine: createReferenceEngine(), dtype: "float32", plan, rows }),
    ]);
    for (const { weight, rowAxis } of layers) {
      const start = graph.constants.get(weight) as Tensor;
      const chosen = new Set(rows.get(weight));
      const [given, wanted] = [mixed, exact].map(({ variables }) => differences(variables.get(weight), start, rowAxis));
      given.forEach((row, i) => {
        expect(
          row.some((value) => value !== 0),
          `row ${i} of ${weight} moved`,
        ).toBe(chosen.has(i));
      });
      // Rounding to 8 bits at every product: 6.02 dB per bit, less what adds up from layer to layer.
      if (chosen.size > 0) expect(sqnr(given.flat(), wanted.flat()), weight).toBeGreaterThan(6.02 * 8 - 24);
    }
  });
});

/** How far each row moved. */
function differences(after: Tensor | undefined, before: Tensor, axis: number): number[][] {
  const inner = sizeOf(before.shape.slice(axis + 1));
  const rows = Array.from({ length: before.shape[axis] }, (): number[] => []);
  const [to, from] = [after ? numbersOf(after) : [], numbersOf(before)];
  from.forEach((value, i) => void rows[Math.floor(i / inner) % rows.length].push(to[i] - value));
  return rows;
}
