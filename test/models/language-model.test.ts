// A language model's folder from end to end: weights in groups, activations in float, the file beside what reads its text.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import type { Session } from "../../src/engines/onnxruntime/open-session.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { evaluateModel } from "../../src/evaluate/evaluate-model.ts";
import { tensor, toNumbers } from "../../src/ir/tensor.ts";
import { textDataset } from "../../src/language-models/text-data.ts";
import { openSequences } from "../../src/node/open-decoder.ts";
import { quantizeFile } from "../../src/node/quantize-file.ts";
import { verifyRun } from "../../src/node/verify-run.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { expectClose } from "../support/close.ts";
import { createRandom } from "../support/random.ts";

const root = mkdtempSync(join(tmpdir(), "frostbit-language-model-"));
afterAll(() => rmSync(root, { recursive: true }));

const given = join(import.meta.dirname, "../oracles/decoders/llama");
const random = createRandom(5);
const windows = (count: number) =>
  Array.from({ length: count }, () => Array.from({ length: 12 }, () => Math.floor(random.uniform(0, 24))));
const preprocess = resolvePreprocess("none");

test.each([
  ["ptq", 4],
  ["gptq", 3],
])("%s at %i bits writes a file that predicts as the quantized model does", async (method, weights) => {
  const out = join(root, method);
  const test = textDataset("test", windows(8));
  const { report, modelPath } = await quantizeFile({
    modelPath: given,
    source: { train: textDataset("train", windows(32)), test, heldOut: false },
    preprocess,
    options: runOptions.parse({
      quantize: { weights, activations: "float", groupSize: 16 },
      methods: [method],
      accuracies: "all",
    }),
    engine: createReferenceEngine(),
    out,
  });
  const { float, quantized, deployed } = report.metrics;
  expect(deployed!.loss! / quantized!.loss!).toBeCloseTo(1, 4);
  expect(Math.abs(deployed!.loss! - float!.loss!)).toBeGreaterThan(1e-3);
  const written = (file: string) => JSON.parse(readFileSync(join(out, file), "utf8"));
  expect(modelPath).toBe(join(out, "onnx/model_q4.onnx"));
  expect(written("config.json")).toMatchObject({ model_type: "llama", "transformers.js_config": { dtype: "q4" } });
  expect(written("genai_config.json").model).toMatchObject({
    eos_token_id: 2,
    decoder: { filename: "onnx/model_q4.onnx", head_size: 8, num_key_value_heads: 2, num_hidden_layers: 2 },
  });
  expect(report.input.externalData).toHaveLength(4);
  expect(report.sizeBytes.float).toBeGreaterThan(10_000);
  expect((await verifyRun(out)).ok).toBe(true);
  const file = await openSequences(modelPath);
  const { loss } = await evaluateModel(file, test, { preprocess });
  expect(loss).toBeCloseTo(deployed!.loss!, 6);
  const rows = windows(2);
  const ids = tensor("int64", [2, rows[0].length], BigInt64Array.from(rows.flat(), BigInt));
  const logits = async (session: Session) =>
    toNumbers((await session.run(new Map([["input_ids", ids]]))).get("logits")!);
  const vocabulary = Number(file.outputs.get("logits")!.shape[2]);
  // Parts of five positions, and a shorter last one.
  const inParts = await openSequences(modelPath, {}, 2 * 5 * 4 * vocabulary);
  expectClose(await logits(inParts), await logits(file), { as: "float32" });
  const row = tensor("int64", [1, rows[0].length], BigInt64Array.from(rows[0], BigInt));
  const spare = new Float32Array(rows[0].length * vocabulary);
  const reused = await inParts.run(new Map([["input_ids", row]]), undefined, new Map([["logits", spare]]));
  expect(reused.get("logits")!.data).toBe(spare);
  expectClose(Array.from(spare), (await logits(file)).slice(0, spare.length), { as: "float32" });
  await inParts.dispose();
  await file.dispose();
});

test("weights of a table are written with a cache too, and refused by formats of even steps", async () => {
  const run = (format: readonly string[]) =>
    quantizeFile({
      modelPath: given,
      source: { train: textDataset("train", windows(8)), test: textDataset("test", windows(4)), heldOut: false },
      preprocess,
      options: runOptions.parse({
        quantize: { weights: 4, activations: "float", weightGrid: "power", format },
        methods: ["ptq"],
        accuracies: "all",
      }),
      engine: createReferenceEngine(),
      out: join(root, "power"),
    });
  await expect(run(["gptq"])).rejects.toThrow("gptq does not hold 14 of 14 layers");
  const { report, modelPath } = await run(["onnx"]);
  expect(modelPath).toBe(join(root, "power/onnx/model.onnx"));
  expect(report.metrics.deployed!.loss! / report.metrics.quantized!.loss!).toBeCloseTo(1, 4);
});

test("other formats are written beside ONNX, and refused before anything is computed where they do not fit", async () => {
  const run = (format: readonly string[], more: object = {}) =>
    quantizeFile({
      modelPath: given,
      source: { train: textDataset("train", windows(4)), test: textDataset("test", windows(4)), heldOut: false },
      preprocess,
      options: runOptions.parse({ quantize: { weights: 4, activations: "float", format, ...more }, methods: ["ptq"] }),
      engine: createReferenceEngine(),
      out: join(root, "formats"),
      onProgress: () => {
        computed = true;
      },
    });
  let computed = false;
  await expect(run(["onnx", "gptq"], { groupSize: 16 })).rejects.toThrow(
    "The format gptq does not hold 14 of 14 layers",
  );
  await expect(run(["gguf"], { activations: 8 })).rejects.toThrow(
    "hold language models whose weights alone are quantized",
  );
  expect(computed).toBe(false);
  const { report } = await run(["compressed-tensors"]);
  const names = report.files.map(({ name }) => name);
  expect(names).toContain("compressed-tensors/model.safetensors");
  const onnx = report.files.filter(({ name }) => /^onnx\//.test(name));
  expect(report.sizeBytes.quantized).toBe(onnx.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
});
