// A Hugging Face folder of a language model → graph.
import { errorAt, FrostbitError } from "../ir/errors.ts";
import type { OnnxModel, Origin } from "../ir/graph.ts";
import { type ModelFolder, openCheckpoint, readJson } from "./checkpoint.ts";
import { parseConfig } from "./config.ts";
import { buildDecoder, type DecoderType } from "./decoder.ts";

export const configFile = "config.json";

/** What an ONNX file would say of itself: the oldest opset that has RMSNormalization, for the sake of older runtimes. */
const origin: Origin = {
  opset: 23,
  irVersion: 11,
  producerName: "frostbit",
  producerVersion: "",
  domain: "",
  modelVersion: 0n,
  docString: "",
  metadata: new Map(),
};

/** How `readLanguageModel` reads. */
export interface ReadLanguageModelOptions {
  /** What messages call the model, usually its folder. */
  readonly name: string;
  /** float64 for oracles. */
  readonly dtype?: DecoderType;
}

/**
 * The graph of a decoder from its config.json and safetensors files: `input_ids` int64 [batch, length] to `logits`. Large tensors
 * are read when they are used. Throws BAD_MODEL, naming what of the config is not supported or what the checkpoint lacks.
 */
export function readLanguageModel(
  folder: ModelFolder,
  { name, dtype = "float32" }: ReadLanguageModelOptions,
): OnnxModel {
  try {
    const config = parseConfig(readJson(folder, configFile));
    return { graph: buildDecoder(config, openCheckpoint(folder, dtype), { name, dtype }), origin };
  } catch (error) {
    throw error instanceof FrostbitError ? errorAt(`${name}: `, error) : error;
  }
}
