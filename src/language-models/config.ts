// A language model's config.json in one normal form: what each family says in its own words, or leaves unsaid.
import { FrostbitError } from "../ir/errors.ts";
import { type Biases, type Family, families, isFamily, traitsOf } from "./families.ts";
import { type RawConfig, rawConfig } from "./raw-config.ts";
import { checkPositions, type Rope, ropeOf } from "./rope.ts";

/** One decoder layer, where layers of a model differ. */
export interface DecoderLayer {
  /** `undefined` where positions are not rotated. */
  readonly rope: Rope | undefined;
  /** How many positions a query sees, its own among them; all before it where `undefined`. */
  readonly window: number | undefined;
}

export interface DecoderConfig {
  readonly family: Family;
  readonly vocabulary: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
  /** The longest sequence that it was made for. */
  readonly contextLength: number;
  readonly epsilon: number;
  readonly activation: Activation;
  readonly biases: Biases;
  /** What queries are multiplied by. */
  readonly scoreScale: number;
  /** c of c · tanh(x / c), of attention scores and of logits. */
  readonly scoreCap: number | undefined;
  readonly logitCap: number | undefined;
  /** Whether the head is the embedding; `undefined` where the checkpoint decides. */
  readonly isTied: boolean | undefined;
  /** Whether rotated pairs are (2i, 2i + 1), not (i, i + d/2). */
  readonly isInterleaved: boolean;
  readonly layers: readonly DecoderLayer[];
}

const activations = { silu: "silu", swish: "silu", gelu: "gelu", gelu_pytorch_tanh: "gelu-tanh" } as const;
type Activation = (typeof activations)[keyof typeof activations];

const bad = (what: string): FrostbitError => new FrostbitError("BAD_MODEL", `config.json: ${what}`);

/** Throws BAD_MODEL, naming each field that is missing, wrong or not supported. */
export function parseConfig(json: unknown): DecoderConfig {
  const type: unknown = typeof json === "object" && json !== null && "model_type" in json ? json.model_type : undefined;
  if (typeof type !== "string")
    throw bad('there is no model_type. Give the folder of a language model, such as "SmolLM2-135M".');
  if (!isFamily(type))
    throw bad(
      `model_type is "${type}", which is not read; read are ${Object.keys(families).join(", ")}. Others are read as ONNX: export the model with optimum-cli export onnx.`,
    );
  const parsed = rawConfig.safeParse(json);
  if (!parsed.success)
    throw bad(parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; "));
  checkSupported(parsed.data);
  return configOf(type, parsed.data);
}

function checkSupported(raw: RawConfig): void {
  if (raw.quantization_config != null)
    throw bad("quantization_config: the weights are quantized already. Give the model in float.");
  if (raw.use_bidirectional_attention === true)
    throw bad("use_bidirectional_attention is true; supported are models that see what came before alone.");
}

function configOf(family: Family, raw: RawConfig): DecoderConfig {
  const traits = traitsOf(family);
  const heads = raw.num_attention_heads;
  const keyValueHeads = raw.num_key_value_heads ?? sameAs(traits.keyValueHeadsMayLack, heads, family);
  if (heads % keyValueHeads !== 0)
    throw bad(`num_attention_heads ${heads} is no multiple of num_key_value_heads ${keyValueHeads}.`);
  const headSize = raw.head_dim ?? headSizeOf(family, raw);
  checkPositions(raw.max_position_embeddings, headSize);
  return {
    family,
    vocabulary: raw.vocab_size,
    hidden: raw.hidden_size,
    intermediate: raw.intermediate_size,
    heads,
    keyValueHeads,
    headSize,
    contextLength: raw.max_position_embeddings,
    epsilon: raw.rms_norm_eps,
    activation: activationOf(raw, traits.activationField),
    biases: traits.biases(raw),
    scoreScale: (traits.scalesByScalar ? scalarOf(family, raw) : headSize) ** -0.5,
    scoreCap: traits.caps ? (raw.attn_logit_softcapping ?? undefined) : undefined,
    logitCap: traits.caps ? (raw.final_logit_softcapping ?? undefined) : undefined,
    isTied: raw.tie_word_embeddings ?? undefined,
    isInterleaved: raw.rope_interleaved === true,
    layers: layersOf(family, raw, headSize),
  };
}

function sameAs(mayLack: boolean, heads: number, family: Family): number {
  if (mayLack) return heads;
  throw bad(`num_key_value_heads is missing, which ${family} needs.`);
}

function headSizeOf(family: Family, { hidden_size: hidden, num_attention_heads: heads }: RawConfig): number {
  if (traitsOf(family).needsHeadSize) throw bad(`head_dim is missing, which ${family} needs.`);
  if (hidden % heads !== 0) throw bad(`hidden_size ${hidden} is no multiple of num_attention_heads ${heads}.`);
  return hidden / heads;
}

function scalarOf(family: Family, raw: RawConfig): number {
  if (raw.query_pre_attn_scalar == null) throw bad(`query_pre_attn_scalar is missing, which ${family} needs.`);
  return raw.query_pre_attn_scalar;
}

function activationOf(raw: RawConfig, field: "hidden_act" | "hidden_activation"): Activation {
  const name = raw[field];
  if (typeof name === "string" && Object.hasOwn(activations, name))
    return activations[name as keyof typeof activations];
  throw bad(`${field} is ${JSON.stringify(name)}; supported are ${Object.keys(activations).join(", ")}.`);
}

function layersOf(family: Family, raw: RawConfig, headSize: number): readonly DecoderLayer[] {
  const traits = traitsOf(family);
  const slides = slidingLayers(family, raw);
  const rotates = rotatingLayers(traits.skipsRope, raw);
  const { oldTheta } = traits;
  const rope = (isSliding: boolean): Rope =>
    ropeOf(raw, { headSize, oldTheta, isLocal: traits.hasLocalRope && isSliding });
  return slides.map((isSliding, i) => ({
    rope: rotates[i] ? rope(isSliding) : undefined,
    window: isSliding ? windowOf(raw) : undefined,
  }));
}

function windowOf({ sliding_window: window }: RawConfig): number {
  if (window == null) throw bad("sliding_window is missing, and layer_types has sliding_attention.");
  return window;
}

const layerKinds = { sliding_attention: true, full_attention: false } as const;

/** Which layers see a window alone. */
function slidingLayers(family: Family, raw: RawConfig): readonly boolean[] {
  const { num_hidden_layers: layers, layer_types: types } = raw;
  if (!types) return Array.from({ length: layers }, (_, i) => traitsOf(family).slides(raw, i));
  if (types.length !== layers) throw bad(`layer_types has ${types.length} entries for ${layers} layers.`);
  return types.map((type) => {
    if (Object.hasOwn(layerKinds, type)) return layerKinds[type as keyof typeof layerKinds];
    throw bad(`layer_types has "${type}"; supported are ${Object.keys(layerKinds).join(", ")}.`);
  });
}

/** Which layers rotate positions. */
function rotatingLayers(mayNot: boolean, raw: RawConfig): readonly boolean[] {
  const { num_hidden_layers: layers, no_rope_layers: given, no_rope_layer_interval: interval } = raw;
  if (!mayNot) return new Array<boolean>(layers).fill(true);
  if (!given && interval == null) throw bad("no_rope_layers and no_rope_layer_interval are missing; one is needed.");
  if (given && given.length !== layers) throw bad(`no_rope_layers has ${given.length} entries for ${layers} layers.`);
  return Array.from({ length: layers }, (_, i) => (given ? given[i] === 1 : (i + 1) % (interval ?? 1) !== 0));
}
