// Text as samples: documents, their tokens, and the windows of these that a model is run on.
import { z } from "zod";
import type { Dataset } from "../data/dataset.ts";
import { FrostbitError } from "../ir/errors.ts";
import { tensor } from "../ir/tensor.ts";

const bad = (file: string, what: string): FrostbitError => new FrostbitError("BAD_DATA", `${file}: ${what}`);

const document = z.union([z.string(), z.looseObject({ text: z.string() })]);

/**
 * The documents of a file, by the end of its name: .json, an array of strings or of objects with a `text`; .jsonl, the same a line
 * each; any other is one document.
 */
export function parseDocuments(file: string, text: string): readonly string[] {
  const documents = entriesOf(file, text).map((entry, i) => {
    const parsed = document.safeParse(entry);
    if (!parsed.success) throw bad(file, `document ${i} is no text, and no object with a "text".`);
    return typeof parsed.data === "string" ? parsed.data : parsed.data.text;
  });
  if (documents.every((each) => each === "")) throw bad(file, "there is no text in it.");
  return documents;
}

function entriesOf(file: string, text: string): readonly unknown[] {
  if (/\.jsonl$/i.test(file))
    return text
      .split("\n")
      .flatMap((line, i) => (line.trim() === "" ? [] : [parseJson(file, line, ` in line ${i + 1}`)]));
  if (!/\.json$/i.test(file)) return [text];
  const parsed = parseJson(file, text, "");
  if (Array.isArray(parsed)) return parsed;
  throw bad(file, "it is JSON, but no array of documents.");
}

function parseJson(file: string, text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FrostbitError("BAD_DATA", `${file}: it is not JSON${where}.`, { cause });
  }
}

/**
 * How text becomes sequences: "documents", each document by itself, cut at the length; "packed", all documents one behind the other,
 * cut into windows that are full, so that a last part is left out.
 */
export type TextForm = "documents" | "packed";

/** Each document's tokens, with the first token that its tokenizer adds. */
export type Documents = readonly (readonly number[])[];

export function sequencesOf(documents: Documents, form: TextForm, length: number): Documents {
  return form === "documents" ? documents.map((ids) => ids.slice(0, length)) : packed(documents, length);
}

function packed(documents: Documents, length: number): Documents {
  const all = documents.flat();
  return Array.from({ length: Math.floor(all.length / length) }, (_, i) => all.slice(i * length, (i + 1) * length));
}

/** What predicts nothing: PyTorch's index of labels that do not count. */
const ignored = -100n;

/** How many tokens of these sequences are predicted by what comes before them. */
export const predictionsOf = (sequences: Documents): number =>
  sequences.reduce((sum, { length }) => sum + Math.max(0, length - 1), 0);

/**
 * Samples of token ids, and of each position's next token as its label. Sequences that are shorter than the longest end in zeros,
 * which a decoder's positions before them do not see, and in labels that do not count.
 */
export function textDataset(name: string, sequences: Documents): Dataset {
  const used = sequences.filter((ids) => ids.length > 1);
  if (used.length === 0) throw bad(name, "its text gives no sequence of at least two tokens of the length asked for.");
  const length = used.reduce((most, ids) => Math.max(most, ids.length), 0);
  return {
    name,
    length: used.length,
    inputs: new Map([["input_ids", { dtype: "int64", shape: [length] }]]),
    hasLabels: true,
    labelShape: [length],
    labelValues: "more",
    classAxis: 2,
    isText: true,
    read: (indices) => {
      const ids = new BigInt64Array(indices.length * length);
      const labels = new BigInt64Array(ids.length).fill(ignored);
      indices.forEach((index, row) => {
        used[index].forEach((id, i) => {
          ids[row * length + i] = BigInt(id);
          if (i > 0) labels[row * length + i - 1] = BigInt(id);
        });
      });
      const shape = [indices.length, length];
      return Promise.resolve({
        inputs: new Map([["input_ids", tensor("int64", shape, ids)]]),
        labels: tensor("int64", shape, labels),
      });
    },
  };
}
