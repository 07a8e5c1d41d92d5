// Real models that are not classifiers, W8A8, trained to follow the float model on pictures drawn here.
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ImageOptions } from "../../src/data/image-size.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { measureFidelity, type RunModel } from "../../src/evaluate/fidelity.ts";
import { datasetFor } from "../../src/evaluate/model-file.ts";
import { openData } from "../../src/node/open-data.ts";
import { readModel } from "../../src/node/read-model.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { writeModel } from "../../src/quantize/export-model.ts";
import { runMethods } from "../../src/quantize/run-methods.ts";
import { openSubject } from "../../src/quantize/subject.ts";
import type { ObserverName } from "../../src/quantizers/observers/observer.ts";
import { drawPictures } from "../support/draw-pictures.ts";
import { describeWithData } from "../support/frostbit-data.ts";

const context = { engine: createOnnxRuntimeEngine(), seed: 0, threads: 2 };

interface Case {
  readonly file: string;
  readonly images: ImageOptions;
  /** The better one after training, and learning rates: SGD's, and that of qparams. */
  readonly options: { readonly observer: ObserverName; readonly lr: number; readonly qparamLr: number };
  readonly preprocess: ReturnType<typeof resolvePreprocess>;
  readonly outputs: readonly string[];
}

/** What each was trained on: UltraFace (x − 127)/128, super_resolution the luma from 0 to 1. */
const cases: readonly Case[] = [
  {
    file: "version-RFB-320.onnx",
    images: { crop: [240, 320] },
    options: { observer: "percentile", lr: 1e-4, qparamLr: 1e-5 },
    preprocess: resolvePreprocess("none", { scale: 1 / 128, mean: [127 / 128] }),
    outputs: ["scores", "boxes"],
  },
  {
    file: "super_resolution.onnx",
    images: { crop: [224, 224], channels: 1 },
    options: { observer: "mse", lr: 1e-2, qparamLr: 1e-4 },
    preprocess: resolvePreprocess("unit"),
    outputs: ["output"],
  },
];

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-follow-"));
  await drawPictures(join(folder, "train"), { count: 16, seed: 1, height: 240, width: 320 });
  await drawPictures(join(folder, "test"), { count: 4, seed: 2, height: 240, width: 320 });
});
afterAll(() => rm(folder, { recursive: true }));

describeWithData("models that are not classifiers", (data) => {
  test.each(cases)("$file, deployed, is at least 25 dB SQNR to the float model", async (given) => {
    const { file, images, preprocess, outputs } = given;
    const path = join(data, "onnx", file);
    const model = readModel(path);
    const { observer, ...rates } = given.options;
    const options = runOptions.parse({
      quantize: { observer, calibrationSamples: 16 },
      methods: [{ qat: { loss: "mse", batch: 2, steps: 6, freezeStatistics: 0, ...rates } }],
    });
    const source = await openData(`images:${folder}`, { images });
    const job = { model, source, preprocess, options, openDeployed };
    const original = await openDeployed(readFileSync(path));
    const { start, train } = openSubject(job);
    const steps = options.methods;
    const walk = {
      steps,
      all: steps,
      data: { train, preprocess },
      fileBytes: () => 0,
      timeFiles: () => Promise.resolve([]),
      loadSolver: () => Promise.reject(new Error("no solver")),
      checkpoints: undefined,
    };
    const trained = await runMethods(start, walk, context);
    const deployed = await openDeployed(writeModel({ model, options }, trained.model.graph).files[0].bytes);
    const runs = new Map<string, RunModel>([["deployed", (inputs) => deployed.run(inputs)]]);
    const dataset = datasetFor(original, source.test, preprocess);
    const measured = { outputs, preprocess, batchSize: 1 };
    const fidelity = await measureFidelity((inputs) => original.run(inputs), runs, dataset, measured, context);
    await Promise.all([original.dispose(), deployed.dispose()]);
    const distances = fidelity.get("deployed") ?? [];
    expect(distances.map(({ name }) => name)).toEqual(outputs);
    for (const { name, sqnrDb } of distances) expect(sqnrDb, `SQNR of ${name}, dB`).toBeGreaterThan(25);
  });
});
