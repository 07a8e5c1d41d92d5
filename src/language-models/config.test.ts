import { expect, test } from "vitest";
import { parseConfig } from "./config.ts";

const llama = {
  model_type: "llama",
  vocab_size: 100,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  hidden_act: "silu",
};

test.each([
  [{ model_type: "mixtral" }, 'config.json: model_type is "mixtral", which is not read; read are llama, mistral,'],
  [{ model_type: undefined }, "config.json: there is no model_type."],
  [{ vocab_size: undefined }, "config.json: vocab_size: "],
  [{ hidden_act: "relu" }, 'config.json: hidden_act is "relu"; supported are silu, swish, gelu, gelu_pytorch_tanh.'],
  [{ num_key_value_heads: 3 }, "num_attention_heads 4 is no multiple of num_key_value_heads 3."],
  [
    { rope_scaling: { type: "yarn", factor: 4 } },
    'rope_type is "yarn", which is not supported; supported are default,',
  ],
  [{ rope_scaling: { rope_type: "linear" } }, "config.json: rope_type linear: factor: "],
  [{ rope_parameters: { rope_type: "dynamic", rope_theta: 1e4 } }, 'rope_type is "dynamic", which is not supported'],
  [{ model_type: "mistral" }, "num_key_value_heads is missing, which mistral needs."],
  [{ model_type: "mistral", num_key_value_heads: 2 }, "config.json: rope_theta is missing."],
  [{ model_type: "qwen3", num_key_value_heads: 2 }, "head_dim is missing, which qwen3 needs."],
  [{ layer_types: ["full_attention"] }, "layer_types has 1 entries for 2 layers."],
  [{ layer_types: ["full_attention", "linear_attention"] }, 'layer_types has "linear_attention"; supported are'],
  [{ layer_types: ["full_attention", "sliding_attention"] }, "sliding_window is missing, and layer_types has"],
  [{ quantization_config: { bits: 4 } }, "quantization_config: the weights are quantized already."],
  [
    { max_position_embeddings: 1e9 },
    "max_position_embeddings is 1000000000, for which tables of 2000000000 elements would be computed.",
  ],
  [{ hidden_size: 18 }, "hidden_size 18 is no multiple of num_attention_heads 4."],
  [{ partial_rotary_factor: 0.25 }, "rotate 1 numbers; expected an even number."],
])("%j is refused by name", (changes, message) => {
  expect(() => parseConfig({ ...llama, ...changes })).toThrow(message);
});

test("what older files leave unsaid is what it was then", () => {
  const config = parseConfig(llama);
  expect(config.keyValueHeads).toBe(4);
  expect(config.isTied).toBeUndefined();
  expect(config.layers[0].rope?.frequencies).toEqual([1, 1e4 ** -0.5]);
});
