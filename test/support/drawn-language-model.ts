// Folders of small drawn decoders as `quantize` writes language models, in float, with a tokenizer of letters.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cachedDecoder } from "../../src/export/cached-decoder.ts";
import { readJson } from "../../src/language-models/checkpoint.ts";
import { parseConfig } from "../../src/language-models/config.ts";
import { readLanguageModel } from "../../src/language-models/read.ts";
import { modelFolder } from "../../src/node/read-model.ts";
import { writeOnnx } from "../../src/onnx/write.ts";

export const decoderOracles = join(import.meta.dirname, "../oracles/decoders");

/** Tokens 0 to 2 are special, 3 and more are letters from a on; texts begin with token 1. */
const letterTokenizer = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: null,
  pre_tokenizer: null,
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
  },
  decoder: { type: "Fuse" },
  model: {
    type: "BPE",
    dropout: null,
    unk_token: "<unk>",
    fuse_unk: false,
    byte_fallback: false,
    vocab: Object.fromEntries(["<unk>", "<s>", "</s>", ..."abcdefghijklmnopqrstu"].map((token, id) => [token, id])),
    merges: [],
  },
};

/** `changes`: of config.json. */
export function writeDrawnModel(folder: string, family: string, changes: object = {}): void {
  cpSync(join(decoderOracles, family), folder, { recursive: true });
  const config = { ...JSON.parse(readFileSync(join(folder, "config.json"), "utf8")), ...changes };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(letterTokenizer));
  writeFileSync(join(folder, "tokenizer_config.json"), "{}");
  const source = { config: parseConfig(readJson(modelFolder(folder), "config.json")), folder: modelFolder(folder) };
  const { graph, origin } = readLanguageModel(source.folder, { name: family });
  const cached = cachedDecoder({ graph, layers: [], biases: "float" }, source);
  mkdirSync(join(folder, "onnx"));
  writeFileSync(join(folder, "onnx/model.onnx"), writeOnnx({ graph: cached.graph, origin }, { opset: 23 }));
}
