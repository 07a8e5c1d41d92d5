// A Hugging Face folder of a language model → graph.
import { errorAt, FrostbitError } from "../ir/errors.ts";
import type { OnnxModel, Origin } from "../ir/graph.ts";
import { type ModelFolder, openCheckpoint, readJson } from "./checkpoint.ts";
import { parseConfig } from "./config.ts";
import { buildDecoder, type DecoderType } from "./decoder.ts";
import { buildEncoder } from "./encoder.ts";
import { isEncoder, parseEncoder } from "./encoder-config.ts";

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
 * The graph of a decoder from its config.json and safetensors files, `input_ids` int64 [batch, length] to `logits`; or of an encoder,
 * whose padding is masked, to `last_hidden_state` or to the `logits` of its classes. Large tensors are read when they are used. Throws BAD_MODEL, naming what of the config is not supported or what the checkpoint lacks.
 */
export function readLanguageModel(
  folder: ModelFolder,
  { name, dtype = "float32" }: ReadLanguageModelOptions,
): OnnxModel {
  try {
    const json = readJson(folder, configFile);
    const checkpoint = openCheckpoint(folder, dtype);
    if (isEncoder(json))
      return {
        graph: buildEncoder(parseEncoder(json), checkpoint, { name, dtype }),
        origin: { ...origin, opset: 20, irVersion: 9 },
      };
    return { graph: buildDecoder(parseConfig(json), checkpoint, { name, dtype }), origin };
  } catch (error) {
    throw error instanceof FrostbitError ? errorAt(`${name}: `, error) : error;
  }
}
