// A language model as transformers.js and onnxruntime-genai run it: a decoder with a cache, and the files that describe it.
import type { HalfType } from "../ir/half.ts";
import { readJson } from "../language-models/checkpoint.ts";
import { cacheInputs } from "../language-models/places.ts";
import { configFile } from "../language-models/read.ts";
import { writeOnnx } from "../onnx/write.ts";
import { plainProducts } from "../passes/plain-products.ts";
import type { CheckpointFormatName } from "../quantizers/checkpoint-format-names.ts";
import { cachedDecoder } from "./cached-decoder.ts";
import { type DecoderModel, decoderWeights, projectionNames } from "./checkpoints/decoder-weights.ts";
import { jsonFile } from "./checkpoints/safetensors-checkpoint.ts";
import { checkCheckpoint, writeCheckpoint } from "./checkpoints/table.ts";
import { type ExportedFile, type ExportFormat, type ExportSource, modelIn } from "./format.ts";
import { bitsPerWeight, exportMatMulNBits, matMulNBits } from "./matmul-nbits.ts";
import type { Exported } from "./qdq.ts";
import { verifyExport } from "./verify.ts";

/** What is written for a language model whose weights alone are quantized. `others`: formats beside ONNX. */
export const decoderFormat = (decoder: DecoderModel, others: readonly CheckpointFormatName[] = []): ExportFormat => ({
  scaleType: "float16",
  holds: { weightBits: { min: 2, max: 8 }, scales: ["tensor", "channel", "group"] },
  write: (source) => {
    const exported = exportDecoder(source, decoder);
    const model = {
      name: `onnx/model${suffixes[labelOf(exported)]}.onnx`,
      bytes: writeOnnx(exported.model, { opset: exported.opset }),
    };
    return [model, ...descriptions(decoder, labelOf(exported), model.name)];
  },
  bitsPerWeight: (folded) => bitsPerWeight(folded, 16),
  check: (layers) => {
    for (const name of others) checkCheckpoint(name, decoder, layers, projectionNames(decoder.config));
  },
  others: ({ folded }) => {
    if (others.length === 0) return [];
    const weights = decoderWeights(folded, decoder);
    return others.flatMap((name) => writeCheckpoint(name, weights));
  },
  // Layers are the same in the graph of whole sequences, whose values have the folded graph's names.
  verify: ({ folded, origin, storage }, [file], run) =>
    verifyExport({ folded, exported: exportMatMulNBits(folded, origin, storage), model: modelIn(file) }, run),
});

/** Scales in float16: the folded ones are of its numbers already. */
function exportDecoder({ folded, origin, storage }: ExportSource, decoder: DecoderModel): Exported {
  const cached = cachedDecoder(folded, decoder);
  const plain = { ...cached, graph: plainProducts(cached.graph) };
  const { model, opset } = exportMatMulNBits(plain, origin, storage);
  const products = model.graph.nodes.filter(({ op }) => op === matMulNBits);
  const half = new Map(products.map(({ inputs }) => [inputs[2], "float16" as HalfType]));
  const { values, constants } = model.graph;
  const types = [...half.keys()].map(
    (name) => [name, { dtype: "float32", shape: constants.get(name)?.shape ?? [] }] as const,
  );
  return {
    model: { graph: { ...model.graph, values: new Map([...values, ...types]) }, origin: { ...origin, half } },
    opset,
  };
}

/** By transformers.js' name of a width, the end of the file's name. */
const suffixes = { fp32: "", q2: "_q2", q4: "_q4", q8: "_quantized" } as const;
type Label = keyof typeof suffixes;

/** What most layers are stored in; fp32 where products are of floats, whatever the file holds of them. */
function labelOf({ model: { graph } }: Exported): Label {
  const counts = new Map<number, number>();
  for (const { op, attributes } of graph.nodes)
    if (op === matMulNBits) counts.set(Number(attributes["bits"]), (counts.get(Number(attributes["bits"])) ?? 0) + 1);
  const [most] = [...counts].sort((a, b) => b[1] - a[1] || b[0] - a[0]);
  return most ? (`q${most[0]}` as Label) : "fp32";
}

function descriptions({ config, folder }: DecoderModel, label: Label, model: string): readonly ExportedFile[] {
  const raw = readJson(folder, configFile) as object;
  const generation = folder.holds("generation_config.json") ? readJson(folder, "generation_config.json") : {};
  return [
    jsonFile(configFile, { ...raw, "transformers.js_config": { dtype: label } }),
    jsonFile("genai_config.json", genaiConfig({ ...raw, ...(generation as object) }, config, model)),
  ];
}

/** As onnxruntime-genai reads it; tokens' ids are those of the model's own files. */
function genaiConfig(ids: Readonly<Record<string, unknown>>, config: DecoderModel["config"], filename: string): object {
  const { bos_token_id, eos_token_id } = ids;
  const pad = ids["pad_token_id"] ?? eos_token_id;
  const { contextLength } = config;
  return {
    model: {
      type: config.family,
      ...(bos_token_id != null && { bos_token_id }),
      ...(eos_token_id != null && { eos_token_id }),
      pad_token_id: (Array.isArray(pad) ? pad[0] : pad) ?? 0,
      context_length: contextLength,
      vocab_size: config.vocabulary,
      decoder: {
        session_options: { log_id: "onnxruntime-genai", provider_options: [] },
        filename,
        head_size: config.headSize,
        hidden_size: config.hidden,
        num_attention_heads: config.heads,
        num_key_value_heads: config.keyValueHeads,
        num_hidden_layers: config.layers.length,
        inputs: {
          input_ids: "input_ids",
          attention_mask: cacheInputs.mask,
          position_ids: cacheInputs.positions,
          past_key_names: "past_key_values.%d.key",
          past_value_names: "past_key_values.%d.value",
        },
        outputs: {
          logits: "logits",
          present_key_names: "present.%d.key",
          present_value_names: "present.%d.value",
        },
      },
    },
    search: {
      do_sample: false,
      max_length: contextLength,
      min_length: 0,
      num_beams: 1,
      past_present_share_buffer: false,
    },
  };
}
