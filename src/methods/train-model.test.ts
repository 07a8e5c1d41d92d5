import { expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { tinyMlp } from "../../test/support/tiny-models.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { resolvePreprocess } from "../data/preprocess.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createOnnxRuntimeEngine } from "../engines/onnxruntime/onnxruntime-engine.ts";
import { numbersOf, tensorOf } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { runOptions } from "../options/recipe.ts";
import type { QuantizeOutcome } from "../quantize/outcome.ts";
import { quantizeModel } from "../quantize/quantize-model.ts";

const model = readOnnx(tinyMlp(), { name: "mlp.onnx" });
const [input] = model.graph.inputs;
const [, features] = model.graph.values.get(input)?.shape.map(Number) ?? [];

/** The class of the largest of the first four features: what can be learned. All features share a part, so that weights make up for each other. */
function samples(count: number) {
  const random = createRandom(3);
  const own = numbersOf(random.tensor("float32", [count, features]));
  const shared = numbersOf(random.tensor("float32", [count]));
  const x = Float32Array.from(own, (value, i) => value + 3 * shared[Math.floor(i / features)]);
  const inputs = tensorOf("float32", [count, features], x);
  const labels = Array.from({ length: count }, (_, i) => {
    const four = [0, 1, 2, 3].map((c) => x[i * features + c]);
    return four.indexOf(Math.max(...four));
  });
  return memoryDataset("drawn", new Map([[input, inputs]]), tensorOf("int64", [count], labels));
}

async function run(count: number, methods: readonly unknown[]): Promise<QuantizeOutcome & { notes: string[] }> {
  const notes: string[] = [];
  const options = runOptions.parse({
    quantize: { weights: 4, calibrationSamples: 32 },
    methods,
    accuracies: "deployed",
  });
  const source = { train: samples(count), test: samples(64), heldOut: false };
  const job = { model, source, preprocess: resolvePreprocess("none"), options, openDeployed };
  const context = {
    engine: createOnnxRuntimeEngine(),
    seed: 0,
    threads: 1,
    onNote: (note: string) => notes.push(note),
  };
  return { ...(await quantizeModel(job, context)), notes };
}

const undone = (notes: readonly string[]): readonly string[] =>
  notes.filter((note) => note.startsWith("Training is undone"));

test("training that held-out samples find no better is undone", async () => {
  const settings = { steps: 4, batch: 16, validationShare: 0.25 };
  const start = await run(256, ["ptq"]);
  const worse = await run(256, [{ qat: { ...settings, lr: 30 } }]);
  expect(undone(worse.notes)).toEqual([
    expect.stringMatching(/on 64 training samples held out, the loss was \d.* before/),
  ]);
  expect(worse.trainingNote).toBe(undone(worse.notes)[0]);
  expect(worse.bytes).toEqual(start.bytes);
  const better = await run(256, [{ qat: { ...settings, steps: 40, lr: 0.05 } }]);
  expect(undone(better.notes)).toEqual([]);
  expect(better.bytes).not.toEqual(start.bytes);
});

test("by itself a run does so where a method rounded weights, and there are samples enough", async () => {
  const wild = { qat: { steps: 2, batch: 16, lr: 30 } };
  const gptq = { gptq: { roundingSamples: 64 } };
  expect(undone((await run(12_800, [gptq, wild])).notes)).toHaveLength(1);
  expect(undone((await run(12_700, [gptq, wild])).notes)).toEqual([]);
  expect(undone((await run(12_800, [wild])).notes)).toEqual([]);
});

test("a trial finds the learning rate that a run starts with, by samples held out", async () => {
  const settings = { steps: 40, batch: 16, validationShare: 0.25 };
  const wild = { ...settings, lr: 0.5 };
  const tried = await run(256, [{ qat: { ...wild, trialSteps: 12 } }]);
  const { trial = [], learningRates = [] } = tried.training ?? {};
  expect(trial.map(({ learningRate }) => learningRate)).toEqual([0.05, 0.15, 0.5, 1.5, 5]);
  const best = trial.reduce((least, each) => (each.loss < least.loss ? each : least));
  expect(learningRates[0]).toBe(best.learningRate);
  expect(tried.notes).toContainEqual(
    expect.stringMatching(new RegExp(`^Learning rate ${best.learningRate}, by the loss`)),
  );
  const alone = await run(256, [{ qat: { ...settings, lr: best.learningRate } }]);
  expect(tried.bytes).toEqual(alone.bytes);
  expect((await run(256, [{ qat: { ...wild, trialSteps: 12 } }])).bytes).toEqual(tried.bytes);
});
