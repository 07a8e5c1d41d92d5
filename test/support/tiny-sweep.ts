// A sweep whose units take hundredths of a second: one matrix of 8 by 4, and two handfuls of samples.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { writeNpy } from "../../src/data/npy.ts";
import { tensorOf } from "../../src/ir/tensor.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { type Sweep, sweepSchema } from "../../src/report/sweep.ts";
import { createRandom } from "./random.ts";
import { tinyOrigin } from "./tiny-classifier.ts";

/** Writes model.onnx, train.npy, test.npy and recipe.yaml, whose sweep has two settings for each seed. */
export function writeTinySweep(folder: string, seeds: number, sweep: object = {}): void {
  mkdirSync(folder, { recursive: true });
  const random = createRandom(4);
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 8] });
  const w = build.constant(random.uniformTensor("float32", [8, 4], -1, 1), "w");
  const graph = build.graph([build.node("MatMul", [x, w], {}, "y")]);
  writeFileSync(join(folder, "model.onnx"), writeOnnx({ graph, origin: tinyOrigin }, { opset: 18 }));
  for (const name of ["train", "test"]) {
    const values = Array.from({ length: 16 * 8 }, () => random.normal());
    writeFileSync(join(folder, `${name}.npy`), writeNpy(tensorOf("float32", [16, 8], values)));
  }
  const recipe = {
    quantize: { calibrationSamples: 8 },
    methods: ["ptq"],
    sweep: {
      models: ["model.onnx"],
      data: "npy:train.npy",
      testData: "npy:test.npy",
      engine: "onnxruntime",
      axes: { "quantize.weights": [4, 8], seed: Array.from({ length: seeds }, (_, seed) => seed) },
      ...sweep,
    },
  };
  writeFileSync(join(folder, "recipe.yaml"), stringify(recipe));
}

/**
 * Of three units, by `limit`: the second reads samples that end the process that computes it, and leave a mark in tries.txt.
 * `isPoison`: an expression of JavaScript, evaluated there; `indices` are those that are read.
 */
export function writePoisonedSweep(folder: string, isPoison = "indices.some((index) => index >= 8)"): void {
  writeTinySweep(folder, 1, { data: "module:./data.mjs", testData: undefined, axes: { limit: [8, 16, 4] } });
  const module = `
import { appendFileSync, existsSync } from "node:fs";
const values = (count) => Float32Array.from({ length: count * 8 }, (_, i) => Math.sin(i * i));
const dataset = (name) => ({
  name,
  length: 16,
  inputs: new Map([["x", { dtype: "float32", shape: [8] }]]),
  digest: () => name,
  read: async (indices) => {
    if (process.argv[1].includes("unit-process") && ${isPoison}) {
      appendFileSync("tries.txt", "x");
      process.kill(process.pid, "SIGKILL");
    }
    return { inputs: new Map([["x", { dtype: "float32", shape: [indices.length, 8], data: values(indices.length) }]]) };
  },
});
export const train = dataset("train");
export const test = dataset("test");
`;
  writeFileSync(join(folder, "data.mjs"), module);
}

/** What a sweep in this folder has written. */
export const sweepIn = (where: string): Sweep =>
  sweepSchema.parse(JSON.parse(readFileSync(join(where, "sweep/sweep.json"), "utf8")));
