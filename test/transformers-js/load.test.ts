// What quantize writes for transformers.js, loaded by it. It installs 475 MB of its own, so that it is no dependency:
// FROSTBIT_TRANSFORMERS_JS names a folder in whose node_modules it is, as .ci/run makes one.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { quantizeForTransformersJs } from "../../src/node/quantize-for-transformers-js.ts";
import { writeDrawnModel } from "../support/drawn-language-model.ts";
import { writeEncoder } from "../support/letter-tokenizer.ts";

const installed = process.env["FROSTBIT_TRANSFORMERS_JS"];
const root = mkdtempSync(join(tmpdir(), "frostbit-transformers-js-"));
afterAll(() => rmSync(root, { recursive: true }));

interface Library {
  readonly env: { allowRemoteModels: boolean; localModelPath: string };
  readonly pipeline: (
    task: string,
    name: string,
    options: { readonly dtype?: string; readonly device: string },
  ) => Promise<((text: unknown, options?: object) => Promise<unknown>) & { dispose: () => Promise<void> }>;
}

async function library(): Promise<Library> {
  const resolved = createRequire(join(String(installed), "package.json")).resolve("@huggingface/transformers");
  const loaded = (await import(pathToFileURL(resolved).href)) as Library;
  loaded.env.allowRemoteModels = false;
  loaded.env.localModelPath = root;
  return loaded;
}

const dtypes = ["fp32", "fp16", "q8", "q4", "q4f16"] as const;
const cosine = (a: readonly number[], b: readonly number[]): number => {
  const dot = (x: readonly number[], y: readonly number[]): number =>
    x.reduce((sum, value, i) => sum + value * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

describe.skipIf(installed === undefined)("transformers.js loads what is written for it", () => {
  test("an encoder in every dtype: embeddings like those of the float model", async () => {
    mkdirSync(join(root, "minilm"));
    await quantizeForTransformersJs({
      folder: writeEncoder(root, "bert"),
      out: join(root, "minilm"),
      forms: ["fp16", "q8", "q4", "q4f16"],
      blockSize: 16,
    });
    const { pipeline } = await library();
    const embeddings: (readonly number[])[] = [];
    for (const dtype of dtypes) {
      const extract = await pipeline("feature-extraction", "minilm", { dtype, device: "cpu" });
      const { data, dims } = (await extract(["a b c d", "t q"], { pooling: "mean", normalize: true })) as {
        data: Float32Array;
        dims: number[];
      };
      expect(dims, dtype).toEqual([2, 16]);
      embeddings.push([...data]);
      await extract.dispose();
    }
    const least = { fp32: 1, fp16: 0.9999, q8: 0.99, q4: 0.95, q4f16: 0.95 };
    for (const [i, dtype] of dtypes.entries())
      expect(cosine(embeddings[0], embeddings[i]), dtype).toBeGreaterThan(least[dtype] - 1e-6);
  });

  test("a classifier, in the dtype that config.json names", async () => {
    await quantizeForTransformersJs({
      folder: writeEncoder(root, "roberta-classes"),
      out: join(root, "classes"),
      forms: ["q8"],
    });
    const { pipeline } = await library();
    const classify = await pipeline("text-classification", "classes", { device: "cpu" });
    expect(await classify("a b c")).toEqual([
      { label: expect.stringMatching(/^LABEL_[01]$/), score: expect.any(Number) },
    ]);
    await classify.dispose();
  });

  test("a language model behind its cache goes on in every dtype", async () => {
    writeDrawnModel(join(root, "drawn"), "qwen2");
    rmSync(join(root, "drawn/onnx"), { recursive: true });
    await quantizeForTransformersJs({
      folder: join(root, "drawn"),
      out: join(root, "decoder"),
      forms: ["fp16", "q8", "q4", "q4f16"],
      blockSize: 16,
    });
    const { pipeline } = await library();
    for (const dtype of dtypes) {
      const generate = await pipeline("text-generation", "decoder", { dtype, device: "cpu" });
      const [{ generated_text }] = (await generate("eaqi", { max_new_tokens: 9, do_sample: false })) as {
        generated_text: string;
      }[];
      expect(generated_text.startsWith("eaqi"), dtype).toBe(true);
      expect(generated_text.length, dtype).toBeGreaterThan(4);
      await generate.dispose();
    }
  });
});
