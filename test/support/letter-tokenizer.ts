// A tokenizer of words of one letter, with BERT's special tokens, for encoders of drawn weights.
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const tokenizer = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: ["<s>", "[PAD]", "[CLS]", "[SEP]"].map((content, id) => ({
    id,
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  })),
  normalizer: null,
  pre_tokenizer: { type: "Whitespace" },
  post_processor: {
    type: "TemplateProcessing",
    single: [
      { SpecialToken: { id: "[CLS]", type_id: 0 } },
      { Sequence: { id: "A", type_id: 0 } },
      { SpecialToken: { id: "[SEP]", type_id: 0 } },
    ],
    pair: [],
    special_tokens: {
      "[CLS]": { id: "[CLS]", ids: [2], tokens: ["[CLS]"] },
      "[SEP]": { id: "[SEP]", ids: [3], tokens: ["[SEP]"] },
    },
  },
  decoder: null,
  model: {
    type: "WordPiece",
    unk_token: "<s>",
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(
      ["<s>", "[PAD]", "[CLS]", "[SEP]", ..."abcdefghijklmnopqrst"].map((token, id) => [token, id]),
    ),
  },
};

const oracles = join(import.meta.dirname, "../oracles/encoders");

/** The folder of an encoder, by its name in `test/oracles/encoders`, with a tokenizer. */
export function writeEncoder(root: string, name: string): string {
  const folder = join(root, name);
  cpSync(join(oracles, name), folder, { recursive: true });
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(
    join(folder, "tokenizer_config.json"),
    JSON.stringify({ tokenizer_class: "BertTokenizer", pad_token: "[PAD]", model_max_length: 32 }),
  );
  return folder;
}
