// A Hugging Face folder as transformers.js takes it: the model in several forms, and the files that describe it.
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { cachedDecoder } from "../export/cached-decoder.ts";
import { type FormName, formNames, forms } from "../forms/table.ts";
import type { WrittenForms } from "../forms/write-forms.ts";
import { checkGiven, checkNames } from "../ir/check-options.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { OnnxModel } from "../ir/graph.ts";
import { type ModelFolder, readJson } from "../language-models/checkpoint.ts";
import { parseConfig } from "../language-models/config.ts";
import { isEncoder } from "../language-models/encoder-config.ts";
import { configFile, readLanguageModel } from "../language-models/read.ts";
import { textFiles } from "../language-models/tokenizer.ts";
import { fileSource } from "./file-source.ts";
import { learnFromText } from "./learn-from-text.ts";
import {
  checkFormChoices,
  choiceNames,
  type FormChoices,
  inFolder,
  measuredForms,
  restOf,
  type WithoutDataResult,
  writeFormFiles,
  writeResult,
} from "./quantize-without-data.ts";
import { modelFolder, readModel } from "./read-model.ts";
import { writeAtomic } from "./storage.ts";

/** What `quantizeForTransformersJs` is given. */
export interface TransformersJsJob extends FormChoices {
  /** A folder with config.json, and with onnx/model.onnx or safetensors files. */
  readonly folder: string;
  /** Folder for `onnx/model.onnx`, its forms beside it, and the files that describe the model; made where there is none. */
  readonly out: string;
  /**
   * A file of texts, a line each, or the documents of a .json or .jsonl file: what `q8` finds the ranges of activations on, and `q4` and
   * `q4f16` round their weights for. Of an encoder with a tokenizer.json.
   */
  readonly text?: string;
}

const modelFile = "onnx/model.onnx";

/** What transformers.js reads besides config.json. */
const companions = [
  ...textFiles.filter((name) => name !== configFile),
  ...[
    "preprocessor_config.json",
    "processor_config.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
  ],
];

/**
 * Writes what `new pipeline(task, out, { dtype })` of transformers.js loads: `onnx/model.onnx`, and beside it the forms asked for.
 * The folder has the model as `onnx/model.onnx`, or its weights as safetensors: encoders (BERT, DistilBERT, RoBERTa, MPNet,
 * ModernBERT) and language models, which are written behind a cache of keys and values.
 *
 * Throws as `quantizeWithoutData` does, and BAD_MODEL where the folder is not such a one.
 *
 * @example
 * const { files, best } = await quantizeForTransformersJs({ folder: "minilm", out: "out", forms: ["fp16", "q8", "q4"] });
 */
export async function quantizeForTransformersJs(job: TransformersJsJob): Promise<WithoutDataResult> {
  const { folder, out, text, ...choices } = job;
  checkNames("quantizeForTransformersJs", job, ["folder", "out", "text", ...choiceNames]);
  checkGiven("quantizeForTransformersJs", { folder, out, forms: choices.forms });
  checkFormChoices("quantizeForTransformersJs", choices);
  checkForms(choices.forms);
  const files = modelFolder(folder);
  if (!files.holds(configFile))
    throw new FrostbitError(
      "BAD_MODEL",
      `"${folder}" has no ${configFile}. Give the folder of a model as Hugging Face has them: ${configFile}, tokenizer.json, and ${modelFile} or model.safetensors.`,
    );
  const config = readJson(files, configFile);
  if (typeof config !== "object" || config === null)
    throw new FrostbitError("BAD_MODEL", `${configFile} is ${JSON.stringify(config)}; expected an object.`);
  if (text !== undefined) checkLearns(config, files, choices.forms);
  const model = readFolder(folder, files, config);
  return inFolder(out, async () => {
    const { blockSize = 32, seed = 0, threads, signal, onProgress } = choices;
    const context = {
      ...(threads === undefined ? {} : { threads }),
      ...(signal && { signal }),
      ...(onProgress && { onProgress }),
    };
    const found = text === undefined ? {} : await learnFromText({ model, text, folder, blockSize, seed, context });
    return writeFolder(job, { files, config, written: await measuredForms(choices, model, found) });
  });
}

/** Throws BAD_OPTION where a text teaches nothing. */
function checkLearns(config: object, files: ModelFolder, names: readonly FormName[]): void {
  if (!isEncoder(config))
    throw new FrostbitError(
      "BAD_OPTION",
      `text: config.json is that of a language model, whose weights a run with a text rounds for it, in the same layout: quantize FOLDER --text FILE, without --for.`,
    );
  if (!files.holds(tokenizerFile))
    throw new FrostbitError("BAD_OPTION", `text: the folder has no ${tokenizerFile}, which makes tokens of it.`);
  if (names.some((name) => forms[name].learned !== undefined)) return;
  const learning = formNames.filter((name) => forms[name].learned !== undefined);
  throw new FrostbitError(
    "BAD_OPTION",
    `text: forms is ${names.join(", ")}, of which none is found with data; ${learning.join(", ")} are.`,
  );
}

const tokenizerFile = "tokenizer.json";

interface Described {
  readonly files: ModelFolder;
  readonly config: object;
  readonly written: WrittenForms;
}

async function writeFolder(
  { folder, out }: TransformersJsJob,
  { files, config, written }: Described,
): Promise<WithoutDataResult> {
  const path = join(out, modelFile);
  const { bytes, milliseconds } = written.float;
  const formFiles = await writeFormFiles(join(out, "onnx"), written);
  const isSame = realpathSync(folder) === realpathSync(out);
  const keepsModel = isSame && files.holds(modelFile);
  if (!keepsModel) await writeAtomic(path, bytes);
  if (!isSame) await copyCompanions(files, out);
  await writeAtomic(join(out, configFile), describedConfig(config, written, keepsModel));
  const float = { path, sizeBytes: fileSource(path).sizeBytes, milliseconds };
  return writeResult(out, { float, files: formFiles, ...restOf(written) });
}

function checkForms(names: readonly FormName[]): void {
  const stray = names.find((name) => !forms[name].isDtype);
  if (stray === undefined) return;
  const dtypes = formNames.filter((name) => forms[name].isDtype);
  throw new FrostbitError(
    "BAD_OPTION",
    `forms has ${stray}, which transformers.js has no dtype for; it has ${dtypes.join(", ")}.`,
  );
}

/** Of the file where there is one, else of the checkpoint: language models behind a cache, as runtimes run them. */
function readFolder(folder: string, files: ModelFolder, config: unknown): OnnxModel {
  if (files.holds(modelFile)) return readModel(join(folder, modelFile));
  const model = readLanguageModel(files, { name: folder });
  if (isEncoder(config)) return model;
  const source = { config: parseConfig(config), folder: files };
  const { graph } = cachedDecoder({ graph: model.graph, layers: [], biases: "float" }, source);
  return { ...model, graph };
}

/** Of transformers.js: which files have tensors beside them, for all or by name, `model` for all forms that have no entry. */
type ExternalFormat = boolean | number | Readonly<Record<string, boolean | number>>;

interface ReaderConfig {
  readonly use_external_data_format?: ExternalFormat;
}

/** What `dtype` is where a program names none, and that the files that were written hold all their tensors themselves. */
function describedConfig(config: object, { best, written }: WrittenForms, keepsModel: boolean): string {
  const { "transformers.js_config": given = {}, ...rest } = config as {
    readonly "transformers.js_config"?: ReaderConfig;
  };
  const { use_external_data_format: external, ...others } = given;
  const isExternal = keepsModel && external !== undefined && external !== null && external !== false;
  const before = typeof external === "object" ? external : { model: external };
  const whole = Object.fromEntries(written.map(({ form }) => [`model${forms[form].suffix}.onnx`, false]));
  const described = {
    ...rest,
    "transformers.js_config": {
      ...others,
      ...(isExternal ? { use_external_data_format: { ...before, ...whole } } : {}),
      dtype: best ?? "fp32",
    },
  };
  return `${JSON.stringify(described, null, 2)}\n`;
}

async function copyCompanions({ holds, open }: ModelFolder, out: string): Promise<void> {
  for (const name of companions.filter(holds)) {
    const file = open(name);
    await writeAtomic(join(out, name), file.read(0, file.sizeBytes));
  }
}
