// A decoder of SmolLM2-135M's sizes with few layers, random weights and a small vocabulary.

import { writeSafetensors } from "../../src/data/safetensors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { bytesSource } from "../../src/ir/tensor-source.ts";
import { configFile, readLanguageModel } from "../../src/language-models/read.ts";
import { withInputTypes } from "../../src/passes/with-input-types.ts";
import { filled, uniform } from "./tensors.ts";

export interface DecoderSizes {
  readonly hidden: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly intermediate: number;
}

export const vocabulary = 64;

/** Input `input_ids` [batch, length]. */
export function randomDecoder(
  { hidden, heads, keyValueHeads, intermediate }: DecoderSizes,
  length: number,
  layers = 1,
): Graph {
  const config = {
    model_type: "llama",
    vocab_size: vocabulary,
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: keyValueHeads,
    intermediate_size: intermediate,
    max_position_embeddings: length,
    rms_norm_eps: 1e-5,
    rope_theta: 1e5,
    hidden_act: "silu",
    tie_word_embeddings: true,
  };
  const width = (hidden / heads) * keyValueHeads;
  const shapesOf = (layer: string): Readonly<Record<string, readonly [outputs: number, inputs: number]>> => ({
    [`${layer}.self_attn.q_proj`]: [hidden, hidden],
    [`${layer}.self_attn.k_proj`]: [width, hidden],
    [`${layer}.self_attn.v_proj`]: [width, hidden],
    [`${layer}.self_attn.o_proj`]: [hidden, hidden],
    [`${layer}.mlp.gate_proj`]: [intermediate, hidden],
    [`${layer}.mlp.up_proj`]: [intermediate, hidden],
    [`${layer}.mlp.down_proj`]: [hidden, intermediate],
  });
  const names = Array.from({ length: layers }, (_, i) => `model.layers.${i}`);
  const shapes: ReturnType<typeof shapesOf> = {
    "model.embed_tokens": [vocabulary, hidden],
    ...Object.assign({}, ...names.map(shapesOf)),
  };
  const norms = [
    "model.norm",
    ...names.flatMap((layer) => [`${layer}.input_layernorm`, `${layer}.post_attention_layernorm`]),
  ];
  const tensors = new Map<string, Tensor>([
    ...Object.entries(shapes).map(
      ([name, shape], seed) => [`${name}.weight`, uniform(shape, shape[1] ** -0.5, seed)] as const,
    ),
    ...norms.map((name) => [`${name}.weight`, filled([hidden], 1)] as const),
  ]);
  const files = new Map([
    [configFile, new TextEncoder().encode(JSON.stringify(config))],
    ["model.safetensors", writeSafetensors(tensors)],
  ]);
  const folder = {
    holds: (name: string) => files.has(name),
    open: (name: string) => bytesSource(files.get(name) ?? new Uint8Array()),
  };
  const { graph } = readLanguageModel(folder, { name: "random decoder" });
  return withInputTypes(graph, new Map([["input_ids", { dtype: "int64", shape: ["batch", length] }]]));
}
