// A tokenizer.json as GGUF's fields.
import { z } from "zod";
import { FrostbitError } from "../../ir/errors.ts";
import { readJson } from "../../language-models/checkpoint.ts";
import { configFile } from "../../language-models/read.ts";
import type { DecoderModel } from "./decoder-weights.ts";
import { bool, type GgufValue, text, uint32 } from "./gguf-file.ts";

const preTokenizer = z.looseObject({
  type: z.string(),
  individual_digits: z.boolean().optional(),
  pattern: z.looseObject({ Regex: z.string().optional() }).optional(),
});

const tokenizerJson = z.looseObject({
  added_tokens: z.array(z.looseObject({ id: z.int(), content: z.string(), special: z.boolean() })),
  pre_tokenizer: z.union([z.null(), preTokenizer.extend({ pretokenizers: z.array(preTokenizer).optional() })]),
  post_processor: z.unknown(),
  model: z.looseObject({
    type: z.literal("BPE"),
    vocab: z.record(z.string(), z.int()),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
    byte_fallback: z.boolean().nullish(),
    unk_token: z.string().nullish(),
  }),
});

type TokenizerJson = z.output<typeof tokenizerJson>;

const bad = (what: string): FrostbitError =>
  new FrostbitError(
    "BAD_OPTION",
    `The format gguf does not hold this model's tokenizer: ${what} Leave gguf out of --format.`,
  );

function parsed(folder: DecoderModel["folder"]): TokenizerJson {
  if (!folder.holds("tokenizer.json")) throw bad("there is no tokenizer.json.");
  const result = tokenizerJson.safeParse(readJson(folder, "tokenizer.json"));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw bad(`tokenizer.json, ${issue.path.join(".")}: ${issue.message}.`);
}

/** llama.cpp's numbers. */
const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Throws BAD_OPTION for tokenizers of other kinds than byte-level BPE, and SentencePiece's BPE with bytes. */
export function tokenizerFields({ folder, config }: DecoderModel): Readonly<Record<string, GgufValue>> {
  const json = parsed(folder);
  const tokens = tokensOf(json, config.vocabulary);
  return {
    ...(isByteLevel(json) ? byteLevelFields(json) : sentencePieceFields(json, tokens)),
    "tokenizer.ggml.tokens": { type: "array", of: "string", value: tokens },
    "tokenizer.ggml.token_type": { type: "array", of: "int32", value: typesOf(json, tokens) },
    ...specialFields(folder, json),
  };
}

const partsOf = ({ pre_tokenizer: whole }: TokenizerJson) => whole?.pretokenizers ?? (whole ? [whole] : []);
const isByteLevel = (json: TokenizerJson): boolean => partsOf(json).some(({ type }) => type === "ByteLevel");

function tokensOf({ model, added_tokens: added }: TokenizerJson, vocabulary: number): readonly string[] {
  const tokens = Array.from({ length: vocabulary }, (_, id) => `[PAD${id}]`);
  for (const [token, id] of [
    ...Object.entries(model.vocab),
    ...added.map(({ content, id }) => [content, id] as const),
  ]) {
    if (id >= vocabulary) throw bad(`token ${id} is beyond the model's vocabulary of ${vocabulary}.`);
    tokens[id] = token;
  }
  return tokens;
}

function typesOf({ model, added_tokens: added }: TokenizerJson, tokens: readonly string[]): readonly number[] {
  const special = new Map(added.map(({ id, special: isSpecial }) => [id, isSpecial]));
  return tokens.map((token, id) => {
    if (token === model.unk_token) return tokenTypes.unknown;
    const isSpecial = special.get(id);
    if (isSpecial !== undefined) return isSpecial ? tokenTypes.control : tokenTypes.userDefined;
    if (!Object.hasOwn(model.vocab, token)) return tokenTypes.unused;
    return model.byte_fallback && /^<0x[0-9A-F]{2}>$/.test(token) ? tokenTypes.byte : tokenTypes.normal;
  });
}

const mergeText = (merge: TokenizerJson["model"]["merges"][number]): string =>
  typeof merge === "string" ? merge : merge.join(" ");

function byteLevelFields(json: TokenizerJson): Readonly<Record<string, GgufValue>> {
  return {
    "tokenizer.ggml.model": text("gpt2"),
    "tokenizer.ggml.pre": text(preTokenizerName(json)),
    "tokenizer.ggml.merges": { type: "array", of: "string", value: json.model.merges.map(mergeText) },
  };
}

/** By what sets each apart, llama.cpp's names of ways to cut text. */
function preTokenizerName(json: TokenizerJson): string {
  const parts = partsOf(json);
  if (parts.some(({ type, individual_digits: one }) => type === "Digits" && one === true)) return "smollm";
  const [{ type, pattern }] = parts;
  const regex = pattern?.Regex ?? "";
  if (type === "ByteLevel") return "gpt-2";
  if (regex.startsWith("(?i:'s|'t|'re|'ve|'m|'ll|'d)|") && regex.includes("\\p{N}{1,3}")) return "llama-bpe";
  if (regex.startsWith("(?i:'s|'t|'re|'ve|'m|'ll|'d)|") && regex.includes("|\\p{N}|")) return "qwen2";
  throw bad(`it cuts text by ${JSON.stringify(parts)}, for which llama.cpp's name is not known.`);
}

/** Tokens that merges make first have the highest scores; spaces are ▁. */
function sentencePieceFields(json: TokenizerJson, tokens: readonly string[]): Readonly<Record<string, GgufValue>> {
  if (json.model.byte_fallback !== true) throw bad("it is neither of bytes, nor falls back to them.");
  const ranks = new Map<string, number>();
  json.model.merges.forEach((merge, rank) => {
    const made = typeof merge === "string" ? merge.split(" ").join("") : merge.join("");
    if (!ranks.has(made)) ranks.set(made, rank);
  });
  const last = json.model.merges.length;
  return {
    "tokenizer.ggml.model": text("llama"),
    "tokenizer.ggml.pre": text("default"),
    "tokenizer.ggml.scores": {
      type: "array",
      of: "float32",
      value: tokens.map((token) => -(ranks.get(token) ?? last)),
    },
    "tokenizer.ggml.add_space_prefix": bool(JSON.stringify(json["normalizer"] ?? "").includes('"Prepend"')),
  };
}

/** Those of the model's own files, and whether texts begin with one. */
function specialFields(folder: DecoderModel["folder"], json: TokenizerJson): Readonly<Record<string, GgufValue>> {
  const generation = "generation_config.json";
  const ids = {
    ...(readJson(folder, configFile) as object),
    ...(folder.holds(generation) ? (readJson(folder, generation) as object) : {}),
  } as Readonly<Record<string, unknown>>;
  const fields: Record<string, GgufValue> = {};
  for (const [field, key] of [
    ["bos_token_id", "bos_token_id"],
    ["eos_token_id", "eos_token_id"],
    ["padding_token_id", "pad_token_id"],
  ] as const) {
    const id = [ids[key]].flat()[0];
    if (typeof id === "number") fields[`tokenizer.ggml.${field}`] = uint32(id);
  }
  const unknown = json.model.unk_token == null ? undefined : json.model.vocab[json.model.unk_token];
  if (unknown !== undefined) fields["tokenizer.ggml.unknown_token_id"] = uint32(unknown);
  fields["tokenizer.ggml.add_bos_token"] = bool(addsFirstToken(json.post_processor));
  const tokenizerConfig = folder.holds("tokenizer_config.json") ? readJson(folder, "tokenizer_config.json") : {};
  const { chat_template: template } = tokenizerConfig as { chat_template?: unknown };
  if (typeof template === "string") fields["tokenizer.chat_template"] = text(template);
  return fields;
}

const postProcessor = z.looseObject({
  type: z.string(),
  single: z.array(z.record(z.string(), z.unknown())).optional(),
  processors: z.array(z.unknown()).optional(),
});

/** Whether a template begins with a special token. */
function addsFirstToken(given: unknown): boolean {
  const { success, data } = postProcessor.safeParse(given);
  if (!success) return false;
  if (data.processors) return data.processors.some(addsFirstToken);
  return data.type === "TemplateProcessing" && data.single?.[0] !== undefined && "SpecialToken" in data.single[0];
}
