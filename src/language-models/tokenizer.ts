// The tokenizer of a model's folder; its package is loaded when a text is read.
import { FrostbitError } from "../ir/errors.ts";
import { type ModelFolder, readJson } from "./checkpoint.ts";

export interface Tokenizer {
  /** With the special tokens that the model was trained with, such as a first one. */
  readonly encode: (text: string) => readonly number[];
  readonly decode: (ids: readonly number[]) => string;
}

const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json"] as const;

/** What a model needs beside its weights to read and write text. */
export const textFiles = [
  "config.json",
  "generation_config.json",
  ...tokenizerFiles,
  "special_tokens_map.json",
  "chat_template.jinja",
] as const;

/** Throws BAD_MODEL where the folder has none that is read. */
export async function openTokenizer(folder: ModelFolder, name: string): Promise<Tokenizer> {
  const [file, configFile] = tokenizerFiles;
  if (!folder.holds(file)) throw new FrostbitError("BAD_MODEL", `${name}: ${missing(folder)}`);
  const json = objectIn(folder, file);
  const config = folder.holds(configFile) ? objectIn(folder, configFile) : {};
  const { Tokenizer: Loaded } = await import("@huggingface/tokenizers");
  const tokenizer = inTokenizer(name, () => new Loaded(json, config));
  return {
    encode: (text) => inTokenizer(name, () => tokenizer.encode(text).ids),
    decode: (ids) => inTokenizer(name, () => tokenizer.decode([...ids], { skip_special_tokens: true })),
  };
}

const missing = ({ holds }: ModelFolder): string =>
  holds("tokenizer.model")
    ? "its tokenizer is a tokenizer.model of SentencePiece, which is not read. AutoTokenizer.from_pretrained(folder).save_pretrained(folder), from Python, writes the tokenizer.json that is."
    : "there is no tokenizer.json, which text is read by. Copy it from the model's own folder.";

function objectIn(folder: ModelFolder, file: string): object {
  const json = readJson(folder, file);
  if (typeof json === "object" && json !== null) return json;
  throw new FrostbitError("BAD_MODEL", `${file} is ${JSON.stringify(json)}; expected an object.`);
}

function inTokenizer<T>(name: string, use: () => T): T {
  try {
    return use();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FrostbitError("BAD_MODEL", `${name}: tokenizer.json cannot be used: ${reason}`, { cause });
  }
}
