// The config.json of an encoder in one normal form, and what sets the families apart.
import { z } from "zod";
import { FrostbitError } from "../ir/errors.ts";
import { checkPositions } from "./rope.ts";

/** What the tensors of a checkpoint are called. */
interface Names {
  readonly words: string;
  readonly positions: string;
  readonly types: string;
  readonly norm: string;
  readonly layer: string;
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly output: string;
  readonly attentionNorm: string;
  readonly up: string;
  readonly down: string;
  readonly feedNorm: string;
}

const bertNames: Names = {
  words: "embeddings.word_embeddings",
  positions: "embeddings.position_embeddings",
  types: "embeddings.token_type_embeddings",
  norm: "embeddings.LayerNorm",
  layer: "encoder.layer",
  query: "attention.self.query",
  key: "attention.self.key",
  value: "attention.self.value",
  output: "attention.output.dense",
  attentionNorm: "attention.output.LayerNorm",
  up: "intermediate.dense",
  down: "output.dense",
  feedNorm: "output.LayerNorm",
};

/** How a sequence's class is computed of its first token. */
type ClassHead =
  /** A dense layer of this name and an activation, then the classifier of that name. */
  | { readonly dense: string; readonly activation: "tanh" | "relu"; readonly classifier: string }
  /** ModernBERT: of the first token or of the mean, with a normalization. */
  | "modern";

interface Traits {
  /** What names begin with in checkpoints that have a head. */
  readonly prefix: string;
  readonly names: Names;
  /** Whether positions count from behind the padding's token on, and padding has that one's. */
  readonly countsTokens: boolean;
  /** Whether token_type_ids are an input; else the only type is that of every token. */
  readonly takesTypes: boolean;
  readonly head: ClassHead;
  /** MPNet: scores have a bias of the distance between query and key. */
  readonly hasDistances: boolean;
  /** Normalizations before attention and before the feed-forward part, which is gated, and rotated positions. */
  readonly isModern: boolean;
}

const bert: Traits = {
  prefix: "bert",
  names: bertNames,
  countsTokens: false,
  takesTypes: true,
  head: { dense: "bert.pooler.dense", activation: "tanh", classifier: "classifier" },
  hasDistances: false,
  isModern: false,
};

const ofFirstToken: ClassHead = { dense: "classifier.dense", activation: "tanh", classifier: "classifier.out_proj" };
const roberta: Traits = { ...bert, prefix: "roberta", countsTokens: true, takesTypes: false, head: ofFirstToken };

const encoderFamilies = {
  bert,
  roberta,
  "xlm-roberta": roberta,
  camembert: roberta,
  distilbert: {
    ...bert,
    prefix: "distilbert",
    takesTypes: false,
    head: { dense: "pre_classifier", activation: "relu", classifier: "classifier" },
    names: {
      ...bertNames,
      layer: "transformer.layer",
      query: "attention.q_lin",
      key: "attention.k_lin",
      value: "attention.v_lin",
      output: "attention.out_lin",
      attentionNorm: "sa_layer_norm",
      up: "ffn.lin1",
      down: "ffn.lin2",
      feedNorm: "output_layer_norm",
    },
  },
  mpnet: {
    ...roberta,
    prefix: "mpnet",
    hasDistances: true,
    names: {
      ...bertNames,
      query: "attention.attn.q",
      key: "attention.attn.k",
      value: "attention.attn.v",
      output: "attention.attn.o",
      attentionNorm: "attention.LayerNorm",
    },
  },
  modernbert: {
    ...bert,
    prefix: "model",
    takesTypes: false,
    isModern: true,
    head: "modern",
    names: { ...bertNames, words: "embeddings.tok_embeddings", norm: "embeddings.norm", layer: "layers" },
  },
} as const satisfies Readonly<Record<string, Traits>>;

export type EncoderFamily = keyof typeof encoderFamilies;
export const encoderTraits = (family: EncoderFamily): Traits => encoderFamilies[family];

const typeOf = (json: unknown): unknown =>
  typeof json === "object" && json !== null && "model_type" in json ? json.model_type : undefined;

/** Whether a config.json is of a family of encoders that is read. */
export function isEncoder(json: unknown): boolean {
  const type = typeOf(json);
  return typeof type === "string" && Object.hasOwn(encoderFamilies, type);
}

const activations = {
  gelu: "gelu",
  gelu_new: "gelu-tanh",
  gelu_pytorch_tanh: "gelu-tanh",
  gelu_fast: "gelu-tanh",
  relu: "relu",
  silu: "silu",
  swish: "silu",
} as const;
export type EncoderActivation = (typeof activations)[keyof typeof activations];

/** ModernBERT's own. */
interface ModernConfig {
  readonly hasAttentionBias: boolean;
  readonly hasFeedBias: boolean;
  readonly hasNormBias: boolean;
  readonly hasHeadBias: boolean;
  readonly headActivation: EncoderActivation;
  readonly poolsMean: boolean;
  /** Of each layer: how far it sees, and what its positions turn by. */
  readonly layers: readonly { readonly reach: number | undefined; readonly theta: number }[];
}

export interface EncoderConfig {
  readonly family: EncoderFamily;
  readonly vocabulary: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly layers: number;
  readonly positions: number;
  readonly types: number;
  readonly epsilon: number;
  readonly activation: EncoderActivation;
  readonly padding: number;
  readonly labels: number;
  /** What comes out: hidden states, or the scores of a sequence's or of each token's classes. */
  readonly output: "hidden" | "sequence" | "tokens";
  readonly modern: ModernConfig | undefined;
}

const count = z.int().positive();
const rawEncoder = z.looseObject({
  vocab_size: count,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  max_position_embeddings: count,
  type_vocab_size: count.nullish(),
  layer_norm_eps: z.number().positive().nullish(),
  norm_eps: z.number().positive().nullish(),
  hidden_act: z.string().nullish(),
  hidden_activation: z.string().nullish(),
  position_embedding_type: z.string().nullish(),
  is_decoder: z.boolean().nullish(),
  pad_token_id: z.int().min(0).nullish(),
  num_labels: count.nullish(),
  id2label: z.record(z.string(), z.unknown()).nullish(),
  architectures: z.array(z.string()).nullish(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  norm_bias: z.boolean().nullish(),
  classifier_bias: z.boolean().nullish(),
  classifier_activation: z.string().nullish(),
  classifier_pooling: z.enum(["cls", "mean"]).nullish(),
  local_attention: count.nullish(),
  layer_types: z.array(z.string()).nullish(),
  global_attn_every_n_layers: count.nullish(),
  global_rope_theta: z.number().positive().nullish(),
  local_rope_theta: z.number().positive().nullish(),
  rope_parameters: z
    .record(z.string(), z.looseObject({ rope_theta: z.number().positive().nullish(), rope_type: z.string().nullish() }))
    .nullish(),
  quantization_config: z.unknown().optional(),
});
type RawEncoder = z.output<typeof rawEncoder>;

/** DistilBERT's words for the same. */
const otherNames: Readonly<Record<string, string>> = {
  dim: "hidden_size",
  hidden_dim: "intermediate_size",
  n_layers: "num_hidden_layers",
  n_heads: "num_attention_heads",
  activation: "hidden_act",
};

const bad = (what: string): FrostbitError => new FrostbitError("BAD_MODEL", `config.json: ${what}`);

/** Of a config.json that `isEncoder`. Throws BAD_MODEL, naming each field that is missing, wrong or not supported. */
export function parseEncoder(json: unknown): EncoderConfig {
  const family = typeOf(json) as EncoderFamily;
  const fields = Object.entries(json as object).map(([name, value]) => [otherNames[name] ?? name, value] as const);
  const parsed = rawEncoder.safeParse(Object.fromEntries(fields));
  if (!parsed.success)
    throw bad(parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; "));
  const raw = parsed.data;
  checkSupported(raw);
  if (encoderTraits(family).isModern)
    checkPositions(raw.max_position_embeddings, raw.hidden_size / raw.num_attention_heads);
  return {
    family,
    vocabulary: raw.vocab_size,
    hidden: raw.hidden_size,
    intermediate: raw.intermediate_size,
    heads: raw.num_attention_heads,
    layers: raw.num_hidden_layers,
    positions: raw.max_position_embeddings,
    types: raw.type_vocab_size ?? (encoderTraits(family).takesTypes ? 2 : 0),
    epsilon: raw.norm_eps ?? raw.layer_norm_eps ?? (encoderTraits(family).isModern ? 1e-5 : 1e-12),
    activation: activationOf(raw.hidden_activation ?? raw.hidden_act ?? "gelu"),
    padding: encoderTraits(family).hasDistances ? 1 : (raw.pad_token_id ?? 1),
    labels: raw.id2label ? Object.keys(raw.id2label).length : (raw.num_labels ?? 2),
    output: outputOf(raw),
    modern: encoderTraits(family).isModern ? modernOf(raw) : undefined,
  };
}

function checkSupported(raw: RawEncoder): void {
  if (raw.hidden_size % raw.num_attention_heads !== 0)
    throw bad(`hidden_size ${raw.hidden_size} is no multiple of num_attention_heads ${raw.num_attention_heads}.`);
  if (raw.position_embedding_type != null && raw.position_embedding_type !== "absolute")
    throw bad(`position_embedding_type is "${raw.position_embedding_type}"; supported is "absolute".`);
  if (raw.is_decoder === true)
    throw bad(
      "is_decoder is true: its tokens see those before them alone, and encoders are read, whose tokens see all.",
    );
  if (raw.quantization_config != null)
    throw bad("quantization_config: the weights are quantized already. Give the model in float.");
}

function activationOf(name: string): EncoderActivation {
  if (Object.hasOwn(activations, name)) return activations[name as keyof typeof activations];
  throw bad(`the activation is ${JSON.stringify(name)}; supported are ${Object.keys(activations).join(", ")}.`);
}

function outputOf({ architectures }: RawEncoder): EncoderConfig["output"] {
  const [name = ""] = architectures ?? [];
  if (name.endsWith("ForSequenceClassification")) return "sequence";
  return name.endsWith("ForTokenClassification") ? "tokens" : "hidden";
}

function modernOf(raw: RawEncoder): ModernConfig {
  const every = raw.global_attn_every_n_layers ?? 3;
  const types =
    raw.layer_types ??
    Array.from({ length: raw.num_hidden_layers }, (_, i) => (i % every === 0 ? "full_attention" : "sliding_attention"));
  if (types.length !== raw.num_hidden_layers)
    throw bad(`layer_types has ${types.length} entries for ${raw.num_hidden_layers} layers.`);
  return {
    hasAttentionBias: raw.attention_bias === true,
    hasFeedBias: raw.mlp_bias === true,
    hasNormBias: raw.norm_bias === true,
    hasHeadBias: raw.classifier_bias === true,
    headActivation: activationOf(raw.classifier_activation ?? "gelu"),
    poolsMean: raw.classifier_pooling === "mean",
    layers: types.map((type) => modernLayer(raw, type)),
  };
}

const thetas: Readonly<Record<string, number>> = { full_attention: 160_000, sliding_attention: 10_000 };

function modernLayer(raw: RawEncoder, type: string): ModernConfig["layers"][number] {
  if (!Object.hasOwn(thetas, type))
    throw bad(`layer_types has "${type}"; supported are ${Object.keys(thetas).join(", ")}.`);
  const isLocal = type === "sliding_attention";
  const given = raw.rope_parameters?.[type];
  if (given?.rope_type != null && given.rope_type !== "default")
    throw bad(`rope_type is "${given.rope_type}"; supported is "default".`);
  const older = isLocal ? raw.local_rope_theta : raw.global_rope_theta;
  return {
    reach: isLocal ? Math.floor((raw.local_attention ?? 128) / 2) : undefined,
    theta: given?.rope_theta ?? older ?? thetas[type],
  };
}
