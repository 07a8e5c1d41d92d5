import { expect, test } from "vitest";
import { sampleClasses, sampleReport } from "../../test/support/sample-report.ts";
import { sweepSchema } from "../report/sweep.ts";
import { sweepFromRecipe } from "./plan.ts";
import type { CellResult } from "./summarize.ts";
import { summarizeSweep } from "./summarize-sweep.ts";

const recipe = {
  methods: ["ptq"],
  sweep: { models: ["a.onnx", "b.onnx"], axes: { "quantize.weights": [4, 8], seed: [1, 2] } },
};
const plan = sweepFromRecipe(recipe, "recipe.yaml", []);
const cells = plan.models.flatMap((model) =>
  plan.cells.map((cell) => {
    const id = `${model} ${cell.setting.name} ${cell.seed}`;
    return { model, cell, id, folder: `units/${id}` };
  }),
);
const facts = { title: "t", createdAt: "now", data: "d", versions: {}, isText: false };

function result(deployed: number, quantized: number, batch1: number): CellResult {
  const report = sampleReport();
  return {
    report: {
      ...report,
      top1: { ...report.top1, deployed },
      metrics: { deployed: sampleClasses },
      sizeBytes: { ...report.sizeBytes, quantized },
      latencyMs: { ...report.latencyMs, deployed: { ...report.latencyMs.deployed, batch1 } },
    },
  };
}

test("means over seeds decide the fronts, of all models together", () => {
  const results = new Map([
    ["a.onnx quantize.weights=4 1", result(90, 100, 2)],
    ["a.onnx quantize.weights=4 2", result(92, 100, 4)],
    ["a.onnx quantize.weights=8 1", result(92, 200, 2)],
    ["a.onnx quantize.weights=8 2", { error: { code: "DIVERGED", message: "NaN" } }],
    ["b.onnx quantize.weights=4 1", result(89, 150, 1)],
    ["b.onnx quantize.weights=4 2", result(89, 150, 1)],
  ]);
  const sweep = sweepSchema.parse(summarizeSweep(plan, cells, results, facts));
  const rows = sweep.settings.map(({ model, name, result: mean, latencyMs, fronts }) => [
    model,
    name,
    mean?.mean ?? null,
    latencyMs,
    fronts.join(" "),
  ]);
  expect(rows).toEqual([
    ["a.onnx", "quantize.weights=4", 91, 3, "size all"],
    ["a.onnx", "quantize.weights=8", 92, 2, "size latency all"],
    ["b.onnx", "quantize.weights=4", 89, 1, "latency all"],
    ["b.onnx", "quantize.weights=8", null, null, ""],
  ]);
  expect(sweep.settings.flatMap(({ units }) => units.map(({ index, status }) => `${index} ${status}`))).toEqual([
    "0 done",
    "1 done",
    "2 done",
    "3 failed",
    "4 done",
    "5 done",
    "6 not run",
    "7 not run",
  ]);
  expect(sweep.models.map(({ float }) => float)).toEqual([91.73, 91.73]);
});

test("a sweep is a grid without the recipe itself, and a list of models alone is one setting", () => {
  expect(plan.settings.map(({ name }) => name)).toEqual(["quantize.weights=4", "quantize.weights=8"]);
  const alone = sweepFromRecipe({ methods: ["ptq"], sweep: { models: ["a.onnx"], data: "d" } }, "r", ["data"]);
  expect([alone.settings.map(({ name }) => name), alone.given]).toEqual([["base"], { data: "d" }]);
});
