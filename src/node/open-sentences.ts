// Sentences with labels, "text:FILE.tsv": a line each, in tokens of the model's own tokenizer.
import { basename } from "node:path";
import type { Dataset, Splits } from "../data/dataset.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type Tensor, tensor } from "../ir/tensor.ts";
import { parseDocuments } from "../language-models/text-data.ts";
import { openTokenizer, type SentenceTokenizer } from "../language-models/tokenizer.ts";
import { modelFolder } from "./read-model.ts";
import { readUnpacked } from "./read-unpacked.ts";

/** How sentences become what a model takes. */
export interface SentenceOptions {
  /** Folder with the model's tokenizer.json. */
  readonly tokenizer?: string;
  /** The model's inputs, of `input_ids`, `attention_mask` and `token_type_ids`; all of them where absent. */
  readonly inputs?: readonly string[];
  /** Tokens of each sample where the model fixes them; else those of the longest sentence. */
  readonly length?: number;
}

/**
 * Texts without labels: the lines of a file, or the documents of a .json or .jsonl file. Throws BAD_DATA where there are none,
 * BAD_MODEL, IO.
 */
export async function openTexts(
  where: string,
  { tokenizer: folder, ...options }: SentenceOptions & { readonly tokenizer: string },
): Promise<Dataset> {
  const tokenizer = await openTokenizer(modelFolder(folder), folder);
  const text = new TextDecoder("utf-8", { fatal: false }).decode(await readUnpacked(where));
  const texts = /\.jsonl?$/i.test(where) ? parseDocuments(basename(where), text) : text.split(/\r?\n/);
  const lines = texts.filter((each) => each.trim() !== "").map((each) => ({ text: each, pair: undefined }));
  if (lines.length === 0) throw new FrostbitError("BAD_DATA", `${where} has no text. Expected a text a line.`);
  return memoryDataset(`text ${basename(where)}`, tensorsOf(lines, tokenizer, options));
}

interface Line {
  readonly label: string;
  readonly text: string;
  readonly pair: string | undefined;
}

/** What tokens are cut to where neither model nor tokenizer says. */
const longest = 512;

/**
 * A label, a tab and a sentence a line, perhaps another tab and a second sentence; a first line of "label" names columns. Labels are
 * class indices, or names, numbered in the order of the alphabet. Throws BAD_OPTION without a tokenizer, BAD_DATA, BAD_MODEL, IO.
 */
export async function openSentences(where: string, options: SentenceOptions): Promise<Splits> {
  const { tokenizer: folder } = options;
  if (folder === undefined)
    throw new FrostbitError(
      "BAD_OPTION",
      `data "text:${where}" has sentences: --tokenizer names the folder with the model's tokenizer.json.`,
    );
  const tokenizer = await openTokenizer(modelFolder(folder), folder);
  const lines = linesOf(new TextDecoder("utf-8", { fatal: false }).decode(await readUnpacked(where)), where);
  const { labels, classes } = labelsOf(lines);
  const inputs = tensorsOf(lines, tokenizer, options);
  const dataset = memoryDataset(`text ${basename(where)}`, inputs, labels);
  return { train: classes ? { ...dataset, classes } : dataset, ...(classes && { classes }) };
}

function linesOf(text: string, where: string): readonly Line[] {
  const rows = text.split(/\r?\n/);
  const lines: Line[] = [];
  for (const [i, row] of rows.entries()) {
    if (row.trim() === "") continue;
    const [label, sentence, pair] = row.split("\t");
    if (sentence === undefined)
      throw new FrostbitError(
        "BAD_DATA",
        `${where}, line ${i + 1} has no tab: "${row.slice(0, 60)}". Expected a label, a tab and a sentence a line.`,
      );
    const named = row.split("\t").map((name) => name.trim().toLowerCase());
    if (i === 0 && named[0] === "label") continue;
    if (i === 0 && named.includes("label"))
      throw new FrostbitError(
        "BAD_DATA",
        `${where}: its first line names column ${named.indexOf("label") + 1} of ${named.length} the label. Expected the label first, then the sentence.`,
      );
    if (label.trim() === "")
      throw new FrostbitError("BAD_DATA", `${where}, line ${i + 1} has no label: "${row.trim().slice(0, 60)}".`);
    lines.push({ label: label.trim(), text: sentence, pair });
  }
  if (lines.length > 0) return lines;
  throw new FrostbitError("BAD_DATA", `${where} has no sentences. Expected a label, a tab and a sentence a line.`);
}

function labelsOf(lines: readonly Line[]): { readonly labels: Tensor; readonly classes?: readonly string[] } {
  const given = lines.map(({ label }) => label);
  const areIndices = given.every((label) => /^\d{1,9}$/.test(label));
  const classes = areIndices ? undefined : [...new Set(given)].sort();
  const places = new Map((classes ?? []).map((name, i) => [name, i]));
  const indices = given.map((label) => BigInt(places.get(label) ?? label));
  const labels = tensor("int64", [lines.length], BigInt64Array.from(indices));
  return { labels, ...(classes && { classes }) };
}

function tensorsOf(
  lines: readonly Pick<Line, "text" | "pair">[],
  tokenizer: SentenceTokenizer,
  { inputs = ["input_ids", "attention_mask", "token_type_ids"], length }: SentenceOptions,
): ReadonlyMap<string, Tensor> {
  const most = length ?? Math.min(longest, tokenizer.longest);
  const encoded = lines.map(({ text, pair }) => cut(tokenizer.encodeSentence(text, pair), most));
  const width = length ?? encoded.reduce((widest, { ids }) => Math.max(widest, ids.length), 1);
  const filled = (values: (sentence: (typeof encoded)[number]) => readonly number[], fill: number): Tensor => {
    const data = new BigInt64Array(lines.length * width).fill(BigInt(fill));
    encoded.forEach((sentence, row) => {
      values(sentence).forEach((value, i) => {
        data[row * width + i] = BigInt(value);
      });
    });
    return tensor("int64", [lines.length, width], data);
  };
  const known: Readonly<Record<string, () => Tensor>> = {
    input_ids: () => filled(({ ids }) => ids, tokenizer.padding),
    attention_mask: () => filled(({ ids }) => ids.map(() => 1), 0),
    token_type_ids: () => filled(({ types }) => types, 0),
  };
  return new Map(
    inputs.map((name) => {
      if (Object.hasOwn(known, name)) return [name, known[name]()];
      throw new FrostbitError(
        "BAD_DATA",
        `The model's input "${name}" is none that sentences give: ${Object.keys(known).join(", ")}. Give npz:FILE or a module instead.`,
      );
    }),
  );
}

interface Encoded {
  readonly ids: readonly number[];
  readonly types: readonly number[];
}

/** The last token ends the sentence: it stays. */
function cut({ ids, types }: Encoded, most: number): Encoded {
  if (ids.length <= most) return { ids, types };
  const kept = <T>(values: readonly T[]): readonly T[] => [...values.slice(0, most - 1), values[values.length - 1]];
  return { ids: kept(ids), types: kept(types) };
}
