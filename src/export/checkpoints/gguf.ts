// GGUF, which llama.cpp runs: each layer in the block type that holds its grid, everything else in floats.
import { FrostbitError } from "../../ir/errors.ts";
import { narrowTensor } from "../../ir/half.ts";
import { numbersOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { transposedMatrix } from "../../ir/transposed-matrix.ts";
import { readJson } from "../../language-models/checkpoint.ts";
import type { DecoderConfig } from "../../language-models/config.ts";
import { configFile } from "../../language-models/read.ts";
import { type DecoderModel, type DecoderWeights, inputsPerGroup, type LayerForm } from "./decoder-weights.ts";
import type { CheckpointFormat } from "./format.ts";
import { blockForms, blocksOf, blockTypeOf, type RowLayout } from "./gguf-blocks.ts";
import { float32, type GgufTensor, type GgufValue, text, uint32, writeGguf } from "./gguf-file.ts";
import { tokenizerFields } from "./gguf-tokenizer.ts";

/** By family: llama.cpp's name, and whether it rotates pairs (2i, 2i + 1). */
const architectures: Readonly<
  Partial<Record<DecoderConfig["family"], { readonly name: string; readonly isInterleaved: boolean }>>
> = {
  llama: { name: "llama", isInterleaved: true },
  mistral: { name: "llama", isInterleaved: true },
  qwen2: { name: "qwen2", isInterleaved: false },
  qwen3: { name: "qwen3", isInterleaved: false },
};

/** Only what enters the last projection of a feed-forward network can be widened: gate and up give zeros there. */
const isWidened = ({ name }: LayerForm): boolean => name.endsWith("mlp.down_proj");

export const gguf: CheckpointFormat = {
  obstacleOf: (layer) => {
    const type = blockTypeOf(layer);
    if (type === undefined)
      return `${layer.bits} bits with zero points; no type holds them; --no-asymmetric-weights (asymmetricWeights: false) does without`;
    const { size } = blockForms[type];
    const group = inputsPerGroup(layer);
    const isWhole = layer.groupSize === "whole";
    if (!isWhole && group % size !== 0) return `groups of ${group}; its blocks of ${size} share a scale`;
    return layer.inputs % size === 0 || isWidened(layer)
      ? undefined
      : `rows of ${layer.inputs} inputs are no multiple of ${size}`;
  },
  needsAllLayersAlike: false,
  checkModel: (model) => {
    architectureOf(model.config);
    ropeDivisors(model);
    tokenizerFields(model);
  },
  write: (weights) => {
    const tensors = tensorsOf(weights);
    return [
      {
        name: "gguf/model.gguf",
        bytes: writeGguf({ ...modelFields(weights, tensors), ...tokenizerFields(weights) }, tensors),
      },
    ];
  },
};

const bad = (what: string): FrostbitError =>
  new FrostbitError("BAD_OPTION", `The format gguf does not hold this model: ${what} Leave gguf out of --format.`);

function architectureOf(config: DecoderConfig): { readonly name: string; readonly isInterleaved: boolean } {
  const { family, layers, contextLength, activation } = config;
  const found = architectures[family];
  if (!found) throw bad(`${family} is not written yet; written are ${Object.keys(architectures).join(", ")}.`);
  const window = layers.find((layer) => (layer.window ?? contextLength) < contextLength)?.window;
  if (window !== undefined) throw bad(`its layers see a window of ${window}, which llama.cpp has not for ${family}.`);
  if (activation !== "silu") throw bad(`its activation is ${activation}; llama.cpp has silu for ${family}.`);
  return found;
}

/** The base of the rotation's angles, and by what llama.cpp divides each of them; none where it need not. */
function ropeDivisors({ config, folder }: DecoderModel): {
  readonly base: number;
  readonly divisors?: readonly number[];
} {
  const { rope_theta: older, rope_parameters: newer } = readJson(folder, configFile) as {
    readonly rope_theta?: number | null;
    readonly rope_parameters?: { readonly rope_theta?: number } | null;
  };
  const base = newer?.rope_theta ?? older ?? 10_000;
  const [first, ...rest] = config.layers.map(({ rope }) => rope?.frequencies);
  const { headSize } = config;
  if (first?.length !== headSize / 2 || rest.some((other) => other?.join() !== first.join()))
    throw bad("its layers rotate positions in different ways, or parts of heads alone.");
  const divisors = first.map((frequency, i) => base ** ((-2 * i) / headSize) / frequency);
  if (divisors.every((divisor) => Math.abs(divisor - 1) < 1e-6)) return { base };
  if (architectureOf(config).name !== "llama")
    throw bad(
      `its positions are scaled, which llama.cpp takes by frequencies for llama alone, not for ${config.family}.`,
    );
  return { base, divisors };
}

/** In the file's names; numbers of file types are llama.cpp's, of what most layers are. */
function modelFields(weights: DecoderWeights, tensors: readonly GgufTensor[]): Readonly<Record<string, GgufValue>> {
  const { config } = weights;
  const { name } = architectureOf(config);
  const ofModel: Readonly<Record<string, GgufValue>> = {
    vocab_size: uint32(config.vocabulary),
    context_length: uint32(config.contextLength),
    embedding_length: uint32(config.hidden),
    block_count: uint32(config.layers.length),
    feed_forward_length: uint32(feedForwardLength(weights)),
    "rope.dimension_count": uint32(config.headSize),
    "rope.freq_base": float32(ropeDivisors(weights).base),
    "attention.head_count": uint32(config.heads),
    "attention.head_count_kv": uint32(config.keyValueHeads),
    "attention.key_length": uint32(config.headSize),
    "attention.value_length": uint32(config.headSize),
    "attention.layer_norm_rms_epsilon": float32(config.epsilon),
  };
  return {
    "general.architecture": text(name),
    "general.name": text(config.family),
    "general.file_type": uint32(fileTypeOf(tensors)),
    "general.quantization_version": uint32(2),
    ...Object.fromEntries(Object.entries(ofModel).map(([key, value]) => [`${name}.${key}`, value])),
  };
}

/** llama.cpp's numbers of what most tensors are. */
function fileTypeOf(tensors: readonly GgufTensor[]): number {
  const numbers = { q4_0: 2, q4_1: 3, q8_0: 7, f16: 1 } as const;
  const counts = Object.entries(numbers).map(
    ([type, number]) => [tensors.filter((each) => each.type === type).length, number] as const,
  );
  return counts.sort((a, b) => b[0] - a[0])[0][1];
}

/** Widened to whole blocks of what it enters. */
function feedForwardLength({ config, layers }: DecoderWeights): number {
  const sizes = [...layers.values()].filter(isWidened).flatMap((layer) => {
    const type = blockTypeOf(layer);
    return type ? [blockForms[type].size] : [];
  });
  const size = Math.max(1, ...sizes);
  return Math.ceil(config.intermediate / size) * size;
}

/** The end of a parameter's name in the checkpoint, and in GGUF. */
const blockNames: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  post_attention_layernorm: "ffn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};
const modelNames: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
};

function ggufName(module: string): string {
  const [, layer, part] = /^model\.layers\.(\d+)\.(.+)$/.exec(module) ?? [];
  const name = layer === undefined ? modelNames[module] : `blk.${layer}.${blockNames[part]}`;
  if (name === undefined || name.endsWith("undefined")) throw new Error(`internal: "${module}" has no name in GGUF`);
  return name;
}

function tensorsOf(weights: DecoderWeights): readonly GgufTensor[] {
  const { divisors } = ropeDivisors(weights);
  const floats = weights.floatNames.map((name) => floatTensor(weights, name));
  const layers = [...weights.layers.values()].map((layer): GgufTensor => {
    const type = blockTypeOf(layer);
    if (type === undefined) throw new Error(`internal: "${layer.name}" has no type in GGUF`);
    const layout = layoutOf(weights, layer.name, layer.inputs, layer.outputs);
    return {
      name: `${ggufName(layer.name)}.weight`,
      shape: [layout.rows.length, layout.inputs],
      type,
      bytes: blocksOf(layer, type, layout),
    };
  });
  return [
    ...floats,
    ...layers,
    ...(divisors ? [floatsOf("rope_freqs.weight", "f32", tensorOf("float32", [divisors.length], divisors))] : []),
  ];
}

/** Queries and keys in the order of pairs that are rotated; the middle of a feed-forward network widened. */
function layoutOf(weights: DecoderWeights, module: string, inputs: number, outputs: number): RowLayout {
  const { config } = weights;
  const wide = feedForwardLength(weights);
  const isRotated = /self_attn\.[qk]_proj$/.test(module) && architectureOf(config).isInterleaved;
  const rows = Array.from({ length: outputs }, (_, row) => (isRotated ? halfOfPair(row, config.headSize) : row));
  if (/mlp\.(gate|up)_proj$/.test(module))
    return { rows: [...rows, ...new Array<undefined>(wide - outputs).fill(undefined)], inputs };
  return { rows, inputs: module.endsWith("mlp.down_proj") ? wide : inputs };
}

/** The row that lies at this place when each head's rows (i, i + size/2) are neighbours. */
function halfOfPair(place: number, size: number): number {
  const inHead = place % size;
  return place - inHead + (inHead % 2 === 0 ? inHead / 2 : (inHead - 1 + size) / 2);
}

const floatsOf = (name: string, type: "f32" | "f16", value: Tensor): GgufTensor => {
  const stored = type === "f16" ? narrowTensor(value, "float16") : value;
  const { buffer, byteOffset, byteLength } = stored.data;
  return { name, shape: value.shape, type, bytes: new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength) };
};

/** Matrices in float16, vectors in float32. */
function floatTensor(weights: DecoderWeights, name: string): GgufTensor {
  const [, module, end] = /^(.+)\.(weight|bias)$/.exec(name) ?? [];
  const value = weights.floats(name);
  const isProjection = weights.projections.includes(module);
  const turned = isProjection && value.shape.length === 2 ? transposedMatrix(value) : value;
  const placed = isProjection
    ? inLayout(turned, layoutOf(weights, module, turned.shape[1] ?? 1, turned.shape[0]))
    : turned;
  return floatsOf(`${ggufName(module)}.${end}`, placed.shape.length === 2 ? "f16" : "f32", placed);
}

function inLayout(value: Tensor, { rows, inputs }: RowLayout): Tensor {
  const isMatrix = value.shape.length === 2;
  const width = isMatrix ? value.shape[1] : 1;
  const wide = isMatrix ? inputs : 1;
  const from = numbersOf(value);
  const to = new Float32Array(rows.length * wide);
  rows.forEach((row, place) => {
    if (row !== undefined) to.set(from.subarray(row * width, (row + 1) * width), place * wide);
  });
  return { dtype: "float32", shape: isMatrix ? [rows.length, wide] : [rows.length], data: to };
}
