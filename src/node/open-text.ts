// Text files as data of a language model: read, tokenized by the model's own tokenizer, and cut into sequences.
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Dataset, Source } from "../data/dataset.ts";
import { holdOut } from "../data/split.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type ModelFolder, readJson } from "../language-models/checkpoint.ts";
import { parseConfig } from "../language-models/config.ts";
import { configFile } from "../language-models/read.ts";
import {
  type Documents,
  parseDocuments,
  predictionsOf,
  sequencesOf,
  type TextForm,
  textDataset,
} from "../language-models/text-data.ts";
import { openTokenizer } from "../language-models/tokenizer.ts";
import { modelFolder } from "./read-model.ts";
import { readBytes } from "./storage.ts";

/** What an exported model may be called in its folder. */
const exportedFiles = ["model.onnx", ...["", "_q2", "_q4", "_quantized"].map((end) => `onnx/model${end}.onnx`)];

export interface LanguageModelFolder extends ModelFolder {
  readonly path: string;
  /** The ONNX file, where the model is one. */
  readonly onnx?: string;
}

/** A language model's folder: the one given, or that of the file given, which may lie in its `onnx/`. */
export function languageModelFolder(path: string): LanguageModelFolder {
  if (!existsSync(path) || !statSync(path).isDirectory()) return { ...folderOfFile(path), onnx: path };
  const folder = modelFolder(path);
  const files = exportedFiles.filter(folder.holds);
  if (files.length > 1)
    throw new FrostbitError(
      "BAD_OPTION",
      `"${path}" has ${files.length} models: ${files.join(", ")}. Give the path of one of them.`,
    );
  return { ...folder, path, ...(files.length === 1 && { onnx: join(path, files[0]) }) };
}

function folderOfFile(file: string): ModelFolder & { readonly path: string } {
  const beside = dirname(file);
  const path = basename(resolve(beside)) === "onnx" && !existsSync(join(beside, configFile)) ? dirname(beside) : beside;
  return { ...modelFolder(path), path };
}

/** How text is cut; what is absent is by the file and the model: see `openText`. */
export interface TextOptions {
  readonly form?: TextForm;
  /** Tokens of a sequence. */
  readonly length?: number;
  /** Use only as many sequences, the first. */
  readonly limit?: number;
}

export interface OpenedText {
  readonly dataset: Dataset;
  readonly form: TextForm;
  readonly length: number;
  /** How many tokens are predicted. */
  readonly predictions: number;
}

const mostPacked = 2048;

/**
 * The sequences of a text file for the model of a folder. Without a form, arrays of documents are taken one by one and other text
 * is packed. Without a length, documents are cut where the model's context ends, and packed windows have 2048 tokens, or as many as
 * the context has. Throws BAD_OPTION for a length beyond the context, BAD_DATA, BAD_MODEL, IO.
 */
export async function openText(
  modelPath: string,
  textPath: string,
  { form = /\.jsonl?$/i.test(textPath) ? "documents" : "packed", length: given, limit }: TextOptions = {},
): Promise<OpenedText> {
  const folder = languageModelFolder(modelPath);
  const length = lengthOf(folder, form, given);
  const sequences = sequencesOf(await tokensOf(folder, textPath), form, length).slice(0, limit);
  const name = basename(textPath);
  return { dataset: textDataset(name, sequences), form, length, predictions: predictionsOf(sequences) };
}

/** What `openTextSource` is told. */
export interface TextSourceOptions extends TextOptions {
  /** Text to test with; a seeded tenth of the windows where absent. */
  readonly testText?: string;
  readonly seed?: number;
}

/** Text to calibrate and train on, packed into windows unless it says otherwise; and text to test with, cut as `openText` cuts it. */
export async function openTextSource(
  modelPath: string,
  textPath: string,
  { testText, seed = 0, ...options }: TextSourceOptions = {},
): Promise<Source> {
  const { dataset: train } = await openText(modelPath, textPath, { form: "packed", ...options });
  if (testText === undefined) return { ...holdOut(train, seed), heldOut: true };
  const { dataset: test } = await openText(modelPath, testText, options.form === undefined ? {} : options);
  return { train, test, heldOut: false };
}

async function tokensOf(folder: LanguageModelFolder, textPath: string): Promise<Documents> {
  const name = basename(resolve(folder.path));
  const text = new TextDecoder().decode(await readBytes(textPath));
  const documents = parseDocuments(basename(textPath), text);
  const tokenizer = await openTokenizer(folder, name);
  return documents.map((each) => tokenizer.encode(each));
}

function lengthOf(folder: LanguageModelFolder, form: TextForm, given: number | undefined): number {
  const context = folder.holds(configFile) ? parseConfig(readJson(folder, configFile)).contextLength : undefined;
  if (given !== undefined && given > (context ?? given))
    throw new FrostbitError("BAD_OPTION", `length is ${given}; the model's context has ${context} tokens.`);
  if (given !== undefined) return given;
  if (context !== undefined) return form === "packed" ? Math.min(mostPacked, context) : context;
  throw new FrostbitError(
    "BAD_OPTION",
    `There is no ${configFile} in "${folder.path}" that says how long the model's context is: give --length.`,
  );
}
