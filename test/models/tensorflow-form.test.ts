// A model as tf2onnx writes them, with several outputs, from file to verified file.
import { describe, expect, test } from "vitest";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { quantizeModel } from "../../src/quantize/quantize-model.ts";
import { parametersOf } from "../../src/training/parameters.ts";
import { createRandom } from "../support/random.ts";
import { tensorflowGraph, tensorflowOutputs, tensorflowSize } from "../support/tensorflow-graph.ts";
import { tinyOrigin } from "../support/tiny-classifier.ts";

const context = { engine: createOnnxRuntimeEngine(), seed: 0, threads: 1 };
const bytes = writeOnnx({ graph: tensorflowGraph(), origin: tinyOrigin }, { opset: 13 });
const { scores, features, mask } = tensorflowOutputs;

/** Pixels whose class can be seen: it is the brightest channel. */
function pictures(count: number, seed: number): { images: Tensor; labels: Tensor } {
  const random = createRandom(seed);
  const labels = Array.from({ length: count }, () => random.integer(0, 3));
  const pixels = labels.flatMap((label) =>
    Array.from({ length: 3 * tensorflowSize ** 2 }, (_, i) => random.integer(0, 180) + (i % 3 === label ? 75 : 0)),
  );
  const shape = [count, tensorflowSize, tensorflowSize, 3];
  return { images: tensorOf("uint8", shape, pixels), labels: tensorOf("int64", [count], labels) };
}

function sourceOf(labelled: boolean) {
  const [train, test] = [
    { count: 64, seed: 1 },
    { count: 32, seed: 2 },
  ].map(({ count, seed }) => {
    const { images, labels } = pictures(count, seed);
    return memoryDataset("pictures", new Map([["input", images]]), labelled ? labels : undefined);
  });
  return { train, test, heldOut: false };
}

/** With 4-bit weights there is something to learn. */
const settings = {
  batch: 16,
  steps: 12,
  lr: 1e-3,
  qparamLr: 1e-4,
  freezeStatistics: 0,
};

/** From the first epoch of four steps to the last. */
function expectLossToFall(losses: readonly number[]): void {
  const mean = (part: readonly number[]): number => part.reduce((sum, loss) => sum + loss, 0) / part.length;
  expect(mean(losses.slice(-4))).toBeLessThan(mean(losses.slice(0, 4)));
}

describe.each(["inputs", "runtime"] as const)("a model as tf2onnx writes them, placement %s,", (placement) => {
  const run = (method: string, options: object, labelled: boolean, outputs?: readonly string[]) =>
    quantizeModel(
      {
        model: readOnnx(bytes, { name: "tf.onnx" }),
        source: sourceOf(labelled),
        preprocess: resolvePreprocess("none", { layout: "nhwc" }),
        options: runOptions.parse({
          quantize: { weights: 4, calibrationSamples: 64, placement, outputs },
          methods: [{ [method]: { ...settings, ...options } }],
        }),
        openDeployed: (file) => openDeployed(file, { threads: 1 }),
      },
      context,
    );

  test("is trained as the classifier that its first output is", async () => {
    const outcome = await run("qat", {}, true);
    expect(outcome.top1.deployed).toBe(outcome.top1.quantized);
    expectLossToFall(outcome.training?.losses ?? []);
    const file = readOnnx(outcome.bytes, { name: "quantized.onnx" }).graph;
    expect(file.inputs).toEqual(["input_1:0"]);
    expect(file.outputs).toEqual([scores, features, mask]);
    expect(outcome.verification?.outputs.map(({ name }) => name)).toEqual([scores, features, mask]);
  });

  test.each([[features], [mask]])("is trained to follow the float model's output %s", async (output) => {
    const outcome = await run("efqat", { updateRatio: 0.5, loss: "mse" }, false, [output]);
    expectLossToFall(outcome.training?.losses ?? []);
    expect(outcome.fidelity?.get("deployed")?.map(({ name }) => name)).toEqual([output]);
    for (const { sqnrDb } of outcome.fidelity?.get("deployed") ?? []) expect(sqnrDb).toBeGreaterThan(10);
  });
});

test("what normalizes its pixels does not train, what is added between its layers does", () => {
  const names = parametersOf(readOnnx(bytes, { name: "tf.onnx" }).graph).map(({ name }) => name);
  expect(names.filter((name) => name.includes("normalization"))).toEqual([]);
  expect(names).toContain("model/add/y:0");
});
