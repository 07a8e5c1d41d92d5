import { describe, expect, test } from "vitest";
import { runGraph } from "../../test/support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor, toNumbers } from "../ir/tensor.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { layerSensitivity, measureLayers } from "./layer-sensitivity.ts";

const engine = createReferenceEngine();
const context = { engine, seed: 0 };
const inputs = new Map([["input", tinyBatch("float64", 4).images]]);

const logitsOf = async (graph: Graph): Promise<readonly number[]> =>
  toNumbers((await runGraph(engine, graph, inputs)).get("logits") as Tensor);

const names = ["conv1", "conv2", "linear"];

describe("what the report measures of layers", () => {
  test("a layer's sensitivity is the SQNR of a model where all other layers are float", async () => {
    const float = tinyClassifier();
    const measured = await layerSensitivity(quantizeTiny(float, { weights: 3 }), inputs, context);
    expect([...measured.keys()]).toEqual(names);
    const reference = await logitsOf(float);
    for (const name of names) {
      const others = Object.fromEntries(
        names.filter((other) => other !== name).map((other) => [other, "float" as const]),
      );
      const alone = await logitsOf(quantizeTiny(float, { weights: 3, layers: others }));
      const signal = reference.reduce((sum, value) => sum + value ** 2, 0);
      const noise = reference.reduce((sum, value, i) => sum + (value - alone[i]) ** 2, 0);
      expect(measured.get(name)).toBeCloseTo(10 * Math.log10(signal / noise), 6);
    }
  });

  test("where quantizers are between other nodes too, each layer still has a sensitivity", async () => {
    const measured = await layerSensitivity(quantizeTiny(tinyClassifier(), { placement: "runtime" }), inputs, context);
    expect([...measured.keys()]).toEqual(names);
    expect([...measured.values()].every((value) => value > 0 && Number.isFinite(value))).toBe(true);
  });

  test("inputs are counted as they enter each layer, with the range of the quantizer there", async () => {
    const quantized = quantizeTiny(tinyClassifier());
    const { inputs: histograms, samples } = await measureLayers(quantized, inputs, context);
    expect(samples).toBe(4);
    for (const { name, input } of linearLayers(quantized)) {
      const found = histograms.get(name);
      const values =
        inputs.get(input) ??
        ((await runGraph(engine, { ...quantized, outputs: [input] }, inputs)).get(input) as Tensor);
      const sorted = Float64Array.from(numbersOf(values)).sort();
      expect([found?.min, found?.max]).toEqual([sorted[0], sorted[sorted.length - 1]]);
      expect(found?.counts.reduce((sum, count) => sum + count, 0)).toBe(sorted.length);
      // Calibrated to −3 to 3: the zero point is rounded, so the ends move by half a step at most.
      expect(found?.range?.widest.low).toBeCloseTo(-3, 1);
      expect(found?.range?.widest.high).toBeCloseTo(3, 1);
    }
  });

  test("a float model has histograms, and no ranges or sensitivities", async () => {
    const { inputs: histograms, sensitivityDb } = await measureLayers(tinyClassifier(), inputs, context);
    expect([...histograms.keys()]).toEqual(names);
    expect([...histograms.values()].every(({ range }) => range === undefined)).toBe(true);
    expect(sensitivityDb.size).toBe(0);
  });
});
