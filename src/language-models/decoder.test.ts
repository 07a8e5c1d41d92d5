import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { describeWithData, readBytes, readTensors } from "../../test/support/frostbit-data.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { castTensor, numbersOf, type Tensor } from "../ir/tensor.ts";
import { bytesSource } from "../ir/tensor-source.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { ModelFolder } from "./checkpoint.ts";
import { readLanguageModel } from "./read.ts";

const oracles = join(import.meta.dirname, "../../test/oracles/decoders");

const folderAt = (...path: string[]): ModelFolder => ({
  holds: (file) => existsSync(join(...path, file)),
  open: (file) => bytesSource(readBytes(...path, file)),
});

async function logitsOf(folder: ModelFolder, ids: Tensor): Promise<Tensor> {
  const { graph } = readLanguageModel(folder, { name: "model" });
  const inputs = new Map([["input_ids", castTensor(ids, "int64")]]);
  const logits = (await runGraph(createReferenceEngine(), graph, inputs)).get("logits");
  if (!logits) throw new Error("no logits");
  return logits;
}

const largestDifference = (a: Tensor, b: Tensor): number => {
  const [actual, expected] = [Array.from(numbersOf(a)), numbersOf(b)];
  return actual.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
};

test.each(readdirSync(oracles))("%s gives the logits of transformers", async (name) => {
  const expected = readTensors(oracles, name, "expected.safetensors");
  const logits = await logitsOf(folderAt(oracles, name), expected.get("ids")!);
  expect(logits.shape).toEqual(expected.get("logits")!.shape);
  expect(largestDifference(logits, expected.get("logits")!)).toBeLessThan(2e-5);
});

test("every projection is a layer that can be quantized; embedding and head are none", () => {
  const { graph } = readLanguageModel(folderAt(oracles, "llama"), { name: "llama" });
  expect(linearLayers(graph).map(({ name }) => name)).toEqual(
    [0, 1].flatMap((i) =>
      [..."qkvo"]
        .map((which) => `model.layers.${i}.self_attn.${which}_proj`)
        .concat(["gate", "up", "down"].map((which) => `model.layers.${i}.mlp.${which}_proj`)),
    ),
  );
});

test("a tensor that the family does not have is refused by name, and one that is missing", () => {
  const config = { ...JSON.parse(new TextDecoder().decode(readBytes(oracles, "qwen2", "config.json"))) };
  const as = (changes: object): ModelFolder => ({
    ...folderAt(oracles, "qwen2"),
    open: (file) =>
      file === "config.json"
        ? bytesSource(new TextEncoder().encode(JSON.stringify({ ...config, ...changes })))
        : folderAt(oracles, "qwen2").open(file),
  });
  const read = (changes: object) => () => readLanguageModel(as(changes), { name: "model" });
  expect(read({ model_type: "mistral" })).toThrow(
    'model: the checkpoint has 6 tensors that a mistral of this config.json does not have: "model.layers.0.self_attn.k_proj.bias"',
  );
  expect(read({ model_type: "llama", mlp_bias: true, attention_bias: true })).toThrow(
    'the checkpoint has no tensor "model.layers.0.self_attn.o_proj.bias", which config.json asks for.',
  );
  expect(read({ num_key_value_heads: 4 })).toThrow(
    'tensor "model.layers.0.self_attn.k_proj.weight" is [8, 16]; by config.json it is [16, 16].',
  );
  expect(read({ tie_word_embeddings: false })).toThrow('the checkpoint has no tensor "lm_head.weight"');
});

describeWithData("stories260k", (data) => {
  /** The folder as llama2.c's files have it: pairs side by side. */
  const interleaved: ModelFolder = {
    holds: (file) => file === "model.safetensors",
    open: (file) => {
      if (file !== "config.json") return bytesSource(readBytes(data, "stories260k", "stories260k.safetensors"));
      const config = JSON.parse(new TextDecoder().decode(readBytes(data, "stories260k", "config.json")));
      return bytesSource(new TextEncoder().encode(JSON.stringify({ ...config, model_type: "llama" })));
    },
  };

  test.each([
    ["by halves", folderAt(data, "stories260k", "hf")],
    ["in pairs", interleaved],
  ])("rotated %s gives the reference's logits", async (_, folder) => {
    const stored = readTensors(data, "stories260k", "reference_logits_story0.safetensors");
    const tokens = stored.get("tokens")!;
    const logits = await logitsOf(folder, { ...tokens, shape: [1, tokens.shape[0]] });
    expect(largestDifference(logits, stored.get("logits")!)).toBeLessThan(1e-4);
  });
});
