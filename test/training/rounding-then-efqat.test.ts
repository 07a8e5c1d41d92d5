// Learned rounding, then EfQAT, as one run: what EfQAT does not train keeps the integers that rounding learned.
import { expect, test } from "vitest";
import { tensorOf } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import type { QuantizeOutcome } from "../../src/quantize/outcome.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { constantOf, gridOf, nearestIntegers, quotientsOf, roundedLayers } from "../../src/rounding/grid.ts";
import { quantizeBytes } from "../support/quantize-bytes.ts";
import { createRandom } from "../support/random.ts";
import { tinyResidualNet } from "../support/tiny-models.ts";

const bytes = tinyResidualNet({ size: 8 });
const { graph: float } = readOnnx(bytes, { name: "m.onnx" });
const random = createRandom(3);
const count = 64;
const inputs = new Map([[float.inputs[0], random.tensor("float32", [count, 3, 8, 8])]]);
const labels = tensorOf(
  "int64",
  [count],
  Array.from({ length: count }, () => Math.floor(random.uniform() * 10)),
);

/** By weight, the integers of each row. */
function rowsOf({ trained }: QuantizeOutcome): ReadonlyMap<string, readonly string[]> {
  const none = { ...trained, nodes: [], values: new Map() };
  return new Map(
    roundedLayers(trained, none).map(({ layer, quantizer }) => {
      const weight = constantOf(trained, quantizer.value);
      const grid = gridOf(trained, quantizer);
      const integers = nearestIntegers(quotientsOf(weight, grid), grid);
      const inner = weight.data.length / weight.shape[0];
      const rows = Array.from({ length: weight.shape[layer.rowAxis] }, (_, row) =>
        Array.from(integers)
          .filter((__, i) => (layer.rowAxis === 0 ? Math.floor(i / inner) : i % weight.shape[1]) === row)
          .join(),
      );
      return [layer.weight, rows] as const;
    }),
  );
}

test("rows that EfQAT freezes keep the integers that QDrop learned, those that train do not all", async () => {
  const quantize = { weights: 4, activations: 4, calibrationSamples: 32 };
  const qdrop = { qdrop: { iterations: 60, roundingSamples: 64, batch: 16 } };
  const efqat = { efqat: { updateRatio: 0.25, steps: 6, batch: 16, lr: 0.3, refreshEvery: 1_000_000 } };
  const run = (methods: readonly object[]): Promise<QuantizeOutcome> =>
    quantizeBytes(bytes, inputs, { quantize, methods, accuracies: "deployed" }, labels);
  const [nearest, learned, chained] = [
    rowsOf(await run([])),
    rowsOf(await run([qdrop])),
    await run([qdrop, efqat]).then((outcome) => ({ rows: rowsOf(outcome), training: outcome.training })),
  ];
  let [frozen, moved, learnedElsewhere] = [0, 0, 0];
  for (const [weight, rows] of learned) {
    const steps = chained.training?.trainedSteps.get(weight) ?? [];
    expect(steps.length).toBe(rows.length);
    rows.forEach((row, i) => {
      if (row !== nearest.get(weight)?.[i]) learnedElsewhere++;
      const now = chained.rows.get(weight)?.[i];
      if (steps[i] === 0) expect(now, `${weight} row ${i}`).toBe(row);
      if (steps[i] === 0) frozen++;
      else if (now !== row) moved++;
    });
  }
  expect(frozen).toBeGreaterThan(10);
  expect(moved).toBeGreaterThan(0);
  expect(learnedElsewhere).toBeGreaterThan(5);
  expect(linearLayers(float).length).toBe(learned.size);
});
