import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { naturalOrder } from "../data/sampler.ts";
import { openData, openTestData } from "./open-data.ts";

const folder = mkdtempSync(join(tmpdir(), "sentences-"));
afterAll(() => rmSync(folder, { recursive: true }));

const vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "##s", "a", "."];
const [PAD, UNK, CLS, SEP, good, bad, film, s, a, dot] = vocabulary.map((_, i) => i);

/** Two sentences' template of BERT. */
const template = {
  type: "TemplateProcessing",
  single: [
    { SpecialToken: { id: "[CLS]", type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
    { SpecialToken: { id: "[SEP]", type_id: 0 } },
  ],
  pair: [
    { SpecialToken: { id: "[CLS]", type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
    { SpecialToken: { id: "[SEP]", type_id: 0 } },
    { Sequence: { id: "B", type_id: 1 } },
    { SpecialToken: { id: "[SEP]", type_id: 1 } },
  ],
  special_tokens: {
    "[CLS]": { id: "[CLS]", ids: [CLS], tokens: ["[CLS]"] },
    "[SEP]": { id: "[SEP]", ids: [SEP], tokens: ["[SEP]"] },
  },
};

writeFileSync(
  join(folder, "tokenizer.json"),
  JSON.stringify({
    version: "1.0",
    added_tokens: [],
    normalizer: { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, lowercase: true },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: template,
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(vocabulary.map((token, i) => [token, i])),
    },
  }),
);
writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ pad_token: "[PAD]", model_max_length: 8 }));

function fileOf(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return `text:${join(folder, name)}`;
}

async function read(text: string, options: object = {}) {
  const dataset = await openTestData(text, { sentences: { tokenizer: folder, ...options } });
  const { inputs, labels } = await dataset.read(naturalOrder(dataset.length));
  const rows = (name: string): number[][] => {
    const { shape = [], data = [] } = inputs.get(name) ?? {};
    return Array.from({ length: shape[0] }, (_, row) =>
      Array.from(data.slice(row * shape[1], (row + 1) * shape[1]), Number),
    );
  };
  return { dataset, rows, labels: Array.from(labels?.data ?? [], Number) };
}

test("a label and a sentence a line become tokens, filled up to the longest", async () => {
  const { rows, labels, dataset } = await read(
    fileOf("plain.tsv", "label\tsentence\n1\tA good film.\n\n0\tBad films\r\n1\tgreat\n"),
  );
  expect(rows("input_ids")).toEqual([
    [CLS, a, good, film, dot, SEP],
    [CLS, bad, film, s, SEP, PAD],
    [CLS, UNK, SEP, PAD, PAD, PAD],
  ]);
  expect(rows("attention_mask")[1]).toEqual([1, 1, 1, 1, 1, 0]);
  expect(rows("token_type_ids")[0]).toEqual([0, 0, 0, 0, 0, 0]);
  expect(labels).toEqual([1, 0, 1]);
  expect(dataset.inputs.get("input_ids")).toEqual({ dtype: "int64", shape: [6] });
});

test("two sentences have types of their own", async () => {
  const { rows } = await read(fileOf("pairs.tsv", "0\tgood film\tbad\n"));
  expect(rows("input_ids")).toEqual([[CLS, good, film, SEP, bad, SEP]]);
  expect(rows("token_type_ids")).toEqual([[0, 0, 0, 0, 1, 1]]);
});

test("what is longer than the model takes is cut before its last token", async () => {
  const long = fileOf("long.tsv", "1\ta a a a a a a a a a good\n");
  expect((await read(long)).rows("input_ids")).toEqual([[CLS, a, a, a, a, a, a, SEP]]);
  expect((await read(long, { length: 4 })).rows("input_ids")).toEqual([[CLS, a, a, SEP]]);
  expect((await read(fileOf("short.tsv", "1\tgood\n"), { length: 4 })).rows("input_ids")).toEqual([
    [CLS, good, SEP, PAD],
  ]);
});

test("labels may be names, numbered in the order of the alphabet", async () => {
  const text = Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? "positive\tgood" : "negative\tbad")).join("\n");
  const { labels, dataset } = await read(fileOf("names.tsv", text));
  expect(labels.slice(0, 4)).toEqual([1, 0, 1, 0]);
  expect(dataset.classes).toEqual(["negative", "positive"]);
  const source = await openData(fileOf("names.tsv", text), { sentences: { tokenizer: folder, inputs: ["input_ids"] } });
  expect([source.train.length, source.test.length, source.heldOut]).toEqual([18, 2, true]);
  expect([...source.train.inputs.keys()]).toEqual(["input_ids"]);
});

test.each([
  ["no tab\n", {}, /line 1 has no tab: "no tab"\. Expected a label, a tab and a sentence a line\./],
  ["\n", {}, /has no sentences/],
  ["sentence\tlabel\ngood\t1\n", {}, /its first line names column 2 of 2 the label\. Expected the label first/],
  ["1\tgood\n\tbad\n", {}, /line 2 has no label: "bad"/],
  [
    "1\tgood\n",
    { inputs: ["position_ids"] },
    /input "position_ids" is none that sentences give: input_ids, attention_mask/,
  ],
  ["1\tgood\n", { tokenizer: undefined }, /--tokenizer names the folder/],
  ["1\tgood\n", { tokenizer: tmpdir() }, /there is no tokenizer.json/],
])("%j with %j is refused", async (text, options, message) => {
  await expect(read(fileOf("bad.tsv", text), options)).rejects.toThrow(message);
});
