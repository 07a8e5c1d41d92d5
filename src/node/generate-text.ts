// Text that goes on from a prompt, token by token, in ONNX Runtime.
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { Session } from "../engines/onnxruntime/open-session.ts";
import { checkCounts, checkNames } from "../ir/check-options.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { numbersOf, type Tensor, tensor } from "../ir/tensor.ts";
import { readJson } from "../language-models/checkpoint.ts";
import { parseConfig } from "../language-models/config.ts";
import { configFile } from "../language-models/read.ts";
import { type Sampling, sampleToken } from "../language-models/sample-token.ts";
import { openTokenizer, type Tokenizer } from "../language-models/tokenizer.ts";
import { behindCache, type Cache, cacheAfter, emptyCache, hasCache } from "./open-decoder.ts";
import { type LanguageModelFolder, languageModelFolder } from "./open-text.ts";

/** What `generateText` is given. */
export interface GenerateTextJob extends Partial<Sampling> {
  /** A folder that `quantize` wrote of a language model, or the ONNX file in it. */
  readonly modelPath: string;
  /** What the text begins with. */
  readonly prompt: string;
  /** Tokens to add at most; 200 where absent. */
  readonly maxTokens?: number;
  /** CPU threads; ONNX Runtime's own choice where absent. */
  readonly threads?: number;
  /** Stops after the token in hand: the call then throws ABORTED. */
  readonly signal?: AbortSignal;
  /** Called with each piece of text, in order: together they are the text. */
  readonly onText?: (piece: string) => void;
}

/** What `generateText` gives. */
export interface GeneratedText {
  /** What follows the prompt. */
  readonly text: string;
  readonly promptTokens: number;
  readonly tokens: number;
  /** Why it ends: the model's token for it, as many tokens as asked for, or the end of the model's context. */
  readonly end: "token" | "maxTokens" | "context";
  /** Of the prompt, and of what follows it. */
  readonly tokensPerSecond: { readonly prompt: number; readonly text: number | null };
}

/** All of them: the compiler names what is forgotten. */
const fields = Object.keys({
  modelPath: true,
  prompt: true,
  maxTokens: true,
  temperature: true,
  topP: true,
  seed: true,
  threads: true,
  signal: true,
  onText: true,
} satisfies Record<keyof GenerateTextJob, true>);

/**
 * Goes on from a prompt with a language model's file in ONNX Runtime: the likeliest token each time, or, with a temperature, one
 * drawn. Throws BAD_OPTION, BAD_MODEL, IO, ENGINE, and ABORTED after `signal`.
 *
 * @example
 * const { text } = await generateText({ modelPath: "out", prompt: "Once upon a time", maxTokens: 50 });
 */
export async function generateText(job: GenerateTextJob): Promise<GeneratedText> {
  checkJob(job);
  const folder = languageModelFolder(job.modelPath);
  const { contextLength, ends } = settingsOf(folder);
  const tokenizer = await openTokenizer(folder, job.modelPath);
  const prompt = tokenizer.encode(job.prompt);
  if (prompt.length === 0) throw new FrostbitError("BAD_OPTION", "The prompt has no tokens. Give some text.");
  if (prompt.length >= contextLength)
    throw new FrostbitError(
      "BAD_OPTION",
      `The prompt has ${prompt.length} tokens; the model's context has ${contextLength}, so that nothing can follow.`,
    );
  const session = await openCached(folder, job.threads);
  try {
    return await follow(job, { session, tokenizer, prompt, contextLength, ends });
  } finally {
    await session.dispose();
  }
}

function checkJob(job: GenerateTextJob): void {
  checkNames("generateText", job, fields);
  checkCounts("generateText", { maxTokens: job.maxTokens, threads: job.threads });
  const { temperature = 0, topP } = job;
  if (!(temperature >= 0 && Number.isFinite(temperature)))
    throw new FrostbitError("BAD_OPTION", `temperature is ${temperature}; expected a number of at least 0.`);
  if (topP !== undefined && !(topP > 0 && topP <= 1))
    throw new FrostbitError("BAD_OPTION", `topP is ${topP}; expected a number above 0 and at most 1.`);
  if (temperature === 0 && (topP ?? 1) < 1)
    throw new FrostbitError(
      "BAD_OPTION",
      "topP chooses among tokens that are drawn, and temperature 0 draws none. Give a temperature, such as 0.8.",
    );
}

/** By the model's own files: how long its context is, and the tokens that end a text. */
function settingsOf(folder: LanguageModelFolder): {
  readonly contextLength: number;
  readonly ends: ReadonlySet<number>;
} {
  const config = readJson(folder, configFile);
  const generation = "generation_config.json";
  const given = [folder.holds(generation) ? readJson(folder, generation) : {}, config].flatMap((content) => {
    const ids: unknown = (content as { eos_token_id?: unknown }).eos_token_id;
    return ids == null ? [] : [[ids].flat().map(Number)];
  });
  return { contextLength: parseConfig(config).contextLength, ends: new Set(given[0]) };
}

async function openCached({ path, onnx }: LanguageModelFolder, threads: number | undefined): Promise<Session> {
  if (onnx === undefined)
    throw new FrostbitError(
      "BAD_MODEL",
      `"${path}" has no ONNX file. Text is generated with what \`frostbit quantize\` wrote: give its --out folder.`,
    );
  const session = await openDeployed(onnx, { spinning: false, ...(threads === undefined ? {} : { threads }) });
  if (hasCache(session)) return session;
  await session.dispose();
  throw new FrostbitError(
    "BAD_MODEL",
    `"${onnx}" keeps no keys and values between tokens: it has no attention_mask and past_key_values. Quantize the model's folder again.`,
  );
}

interface Opened {
  readonly session: Session;
  readonly tokenizer: Tokenizer;
  readonly prompt: readonly number[];
  readonly contextLength: number;
  readonly ends: ReadonlySet<number>;
}

/** Tokens of the prompt that run at once, so that what stops the call need not wait for all of them. */
const promptPart = 32;

async function follow(job: GenerateTextJob, opened: Opened): Promise<GeneratedText> {
  const { session, tokenizer, prompt, contextLength, ends } = opened;
  const { maxTokens = 200, temperature = 0, topP = 1, seed = 0, signal, onText } = job;
  const started = performance.now();
  let cache = emptyCache(session, 1);
  let logits: Float32Array | Float64Array = new Float32Array();
  const run = async (ids: readonly number[]): Promise<void> => {
    if (signal?.aborted) throw new FrostbitError("ABORTED", `Stopped after ${tokens.length} tokens.`);
    ({ logits, cache } = await runTokens(session, ids, cache));
  };
  const tokens: number[] = [];
  const text = textAfter(tokenizer, prompt, onText);
  for (let at = 0; at < prompt.length; at += promptPart) await run(prompt.slice(at, at + promptPart));
  const promptDone = performance.now();
  let end: GeneratedText["end"] = "maxTokens";
  while (tokens.length < maxTokens) {
    const next = sampleToken(logits, { temperature, topP, seed }, tokens.length);
    if (ends.has(next)) {
      end = "token";
      break;
    }
    tokens.push(next);
    text.add(next);
    if (prompt.length + tokens.length >= contextLength) {
      end = "context";
      break;
    }
    if (tokens.length < maxTokens) await run([next]);
  }
  const seconds = (performance.now() - promptDone) / 1000;
  return {
    text: text.end(),
    promptTokens: prompt.length,
    tokens: tokens.length,
    end,
    tokensPerSecond: {
      prompt: (1000 * prompt.length) / (promptDone - started),
      // The first token comes of the prompt's own run.
      text: tokens.length > 1 ? (tokens.length - 1) / seconds : null,
    },
  };
}

/** The last token's logits, and the cache with these tokens. */
async function runTokens(
  session: Session,
  ids: readonly number[],
  cache: Cache,
): Promise<{ readonly logits: Float32Array | Float64Array; readonly cache: Cache }> {
  const given = tensor("int64", [1, ids.length], BigInt64Array.from(ids, BigInt));
  const outputs = await session.run(behindCache(given, cache));
  const logits: Tensor | undefined = outputs.get("logits");
  assert(logits, "a decoder without logits");
  const last = numbersOf(logits).subarray(-logits.shape[2]) as Float32Array;
  return { logits: last, cache: cacheAfter(outputs) };
}

/** The text behind the prompt's: a character of several tokens is shown once it is whole. */
function textAfter(
  tokenizer: Tokenizer,
  prompt: readonly number[],
  onText: ((piece: string) => void) | undefined,
): { readonly add: (id: number) => void; readonly end: () => string } {
  const ids = [...prompt];
  const start = tokenizer.decode(ids).length;
  let shown = start;
  const show = (all: string): void => {
    if (all.length > shown) onText?.(all.slice(shown));
    shown = Math.max(shown, all.length);
  };
  return {
    add: (id) => {
      ids.push(id);
      show(tokenizer.decode(ids).replace(/\uFFFD+$/, ""));
    },
    end: () => {
      const all = tokenizer.decode(ids);
      show(all);
      return all.slice(start);
    },
  };
}
