// The tokenizer of a model's folder; its package is loaded when a text is read.
import { FrostbitError } from "../ir/errors.ts";
import { type ModelFolder, readJson } from "./checkpoint.ts";

export interface Tokenizer {
  /** With the special tokens that the model was trained with, such as a first one. */
  readonly encode: (text: string) => readonly number[];
  readonly decode: (ids: readonly number[]) => string;
}

/** What a sentence classifier needs besides. */
export interface SentenceTokenizer extends Tokenizer {
  /** Tokens, and which of two sentences each is of. */
  readonly encodeSentence: (
    text: string,
    pair: string | undefined,
  ) => { readonly ids: readonly number[]; readonly types: readonly number[] };
  /** What fills up short sentences. */
  readonly padding: number;
  /** Tokens that the model takes at most; infinite where the tokenizer does not say. */
  readonly longest: number;
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
export async function openTokenizer(folder: ModelFolder, name: string): Promise<SentenceTokenizer> {
  const [file, configFile] = tokenizerFiles;
  if (!folder.holds(file)) throw new FrostbitError("BAD_MODEL", `${name}: ${missing(folder)}`);
  const json = objectIn(folder, file);
  const config = folder.holds(configFile) ? objectIn(folder, configFile) : {};
  const { Tokenizer: Loaded } = await import("@huggingface/tokenizers");
  const tokenizer = inTokenizer(name, () => new Loaded(json, config));
  return {
    encode: (text) => inTokenizer(name, () => tokenizer.encode(text).ids),
    decode: (ids) => inTokenizer(name, () => tokenizer.decode([...ids], { skip_special_tokens: true })),
    encodeSentence: (text, pair) =>
      inTokenizer(name, () => {
        const { ids, token_type_ids: types } = tokenizer.encode(text, {
          return_token_type_ids: true,
          ...(pair !== undefined && { text_pair: pair }),
        });
        return { ids, types };
      }),
    padding: tokenizer.token_to_id(paddingOf(config)) ?? 0,
    longest: "model_max_length" in config ? Number(config.model_max_length) : Number.POSITIVE_INFINITY,
  };
}

/** A token's text, or an object that holds it. */
function paddingOf(config: object): string {
  const given: unknown = "pad_token" in config ? config.pad_token : undefined;
  if (typeof given === "string") return given;
  return typeof given === "object" && given !== null && "content" in given ? String(given.content) : "[PAD]";
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
