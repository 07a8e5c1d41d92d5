import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readBytes, readTensors } from "../../test/support/frostbit-data.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { castTensor, numbersOf, type Tensor } from "../ir/tensor.ts";
import { bytesSource } from "../ir/tensor-source.ts";
import { writeOnnx } from "../onnx/write.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { ModelFolder } from "./checkpoint.ts";
import { isEncoder, parseEncoder } from "./encoder-config.ts";
import { readLanguageModel } from "./read.ts";

const oracles = join(import.meta.dirname, "../../test/oracles/encoders");
const names = readdirSync(oracles);

/** `config`: what of config.json is another. */
const folderAt = (name: string, config?: object): ModelFolder => ({
  holds: (file) => existsSync(join(oracles, name, file)),
  open: (file) => {
    const bytes = readBytes(oracles, name, file);
    if (!config || file !== "config.json") return bytesSource(bytes);
    return bytesSource(
      new TextEncoder().encode(JSON.stringify({ ...JSON.parse(new TextDecoder().decode(bytes)), ...config })),
    );
  },
});

const isInput = (name: string): boolean => /_ids$|_mask$/.test(name);

/** What transformers was given, and gave. */
function oracleOf(name: string) {
  const tensors = [...readTensors(oracles, name, "expected.safetensors")];
  const inputs = new Map(
    tensors.filter(([key]) => isInput(key)).map(([key, value]) => [key, castTensor(value, "int64")] as const),
  );
  const [[output, expected]] = tensors.filter(([key]) => !isInput(key));
  return { inputs, output, expected };
}

/** Where tokens are no padding. */
function largestDifference(actual: Tensor, expected: Tensor, mask: Tensor): number {
  const [a, b] = [numbersOf(actual), numbersOf(expected)];
  const width = expected.shape.length === 3 ? expected.shape[2] : a.length;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const isPadding = expected.shape.length === 3 && Number(mask.data[Math.floor(i / width)]) === 0;
    if (!isPadding) largest = Math.max(largest, Math.abs(a[i] - b[i]));
  }
  return largest;
}

describe("encoders from their checkpoints", () => {
  test.each(names)("%s gives what transformers gives", async (name) => {
    const { inputs, output, expected } = oracleOf(name);
    const { graph } = readLanguageModel(folderAt(name), { name });
    expect(graph.inputs).toEqual(
      ["input_ids", "attention_mask", "token_type_ids"].filter((input) => inputs.has(input)),
    );
    const actual = (await runGraph(createReferenceEngine(), graph, inputs)).get(output)!;
    expect(actual.shape).toEqual(expected.shape);
    expect(largestDifference(actual, expected, inputs.get("attention_mask")!)).toBeLessThan(2e-5);
  });

  test.each(["bert", "mpnet-classes", "modernbert"])("%s as a file, in ONNX Runtime", async (name) => {
    const { inputs, output, expected } = oracleOf(name);
    const model = readLanguageModel(folderAt(name), { name });
    const file = await openDeployed(writeOnnx(model, { opset: model.origin.opset }), { threads: 1 });
    const actual = (await file.run(inputs)).get(output)!;
    await file.dispose();
    expect(largestDifference(actual, expected, inputs.get("attention_mask")!)).toBeLessThan(2e-5);
  });

  test("every projection is a layer that can be quantized", () => {
    const { graph } = readLanguageModel(folderAt("bert-classes"), { name: "bert" });
    const parts = [
      "attention.self.query",
      "attention.self.key",
      "attention.self.value",
      "attention.output.dense",
      "intermediate.dense",
      "output.dense",
    ];
    expect(linearLayers(graph).map(({ name }) => name)).toEqual([
      ...[0, 1].flatMap((layer) => parts.map((part) => `bert.encoder.layer.${layer}.${part}`)),
      "bert.pooler.dense",
      "classifier",
    ]);
  });

  test("fields that a family calls otherwise, leaves out, or had before", () => {
    const read = (changes: object) =>
      parseEncoder({
        model_type: "modernbert",
        vocab_size: 8,
        hidden_size: 8,
        intermediate_size: 8,
        num_hidden_layers: 4,
        num_attention_heads: 2,
        max_position_embeddings: 9,
        ...changes,
      });
    expect(
      read({ global_rope_theta: 500, local_rope_theta: 20, local_attention: 8, global_attn_every_n_layers: 2 }).modern
        ?.layers,
    ).toEqual([
      { reach: undefined, theta: 500 },
      { reach: 4, theta: 20 },
      { reach: undefined, theta: 500 },
      { reach: 4, theta: 20 },
    ]);
    expect(read({}).modern?.layers.map(({ theta }) => theta)).toEqual([160_000, 10_000, 10_000, 160_000]);
    expect([read({}).epsilon, read({ model_type: "bert" }).epsilon]).toEqual([1e-5, 1e-12]);
    expect(isEncoder({ model_type: "llama" })).toBe(false);
  });

  test.each([
    ["bert", { position_embedding_type: "relative_key" }, 'position_embedding_type is "relative_key"'],
    ["bert", { hidden_act: "mish" }, 'the activation is "mish"; supported are gelu'],
    ["bert", { num_attention_heads: 3 }, "hidden_size 16 is no multiple of num_attention_heads 3"],
    ["bert", { vocab_size: undefined }, "vocab_size: "],
    ["bert", { vocab_size: 25 }, "is [24, 16]; by config.json it is [25, 16]"],
    [
      "bert-classes",
      { architectures: ["BertModel"] },
      'does not have: "classifier.bias", "classifier.weight". Hidden states and classes',
    ],
    [
      "bert",
      { architectures: ["BertForSequenceClassification"] },
      'the checkpoint has no tensor "bert.pooler.dense.weight"',
    ],
    ["modernbert", { layer_types: ["full_attention"] }, "layer_types has 1 entries for 4 layers"],
    ["bert", { quantization_config: {} }, "quantized already"],
    ["bert", { is_decoder: true }, "is_decoder is true"],
  ])("%s with %j is refused", (name, changes, message) => {
    expect(() => readLanguageModel(folderAt(name, changes), { name })).toThrow(message);
  });
});
