// The families of decoders that are read, by what sets each apart.
import type { RawConfig } from "./raw-config.ts";

/** Which projections add a bias. */
export interface Biases {
  /** Of queries, keys and values. */
  readonly inputs: boolean;
  readonly output: boolean;
  readonly mlp: boolean;
}

interface Traits {
  readonly biases: (raw: RawConfig) => Biases;
  /** Whether layer `i` sees a window alone, where layer_types does not say. */
  readonly slides: (raw: RawConfig, i: number) => boolean;
  /** Whether config.json may leave num_key_value_heads out, which are then as many as the heads. */
  readonly keyValueHeadsMayLack: boolean;
  /** Whether head_dim must be given, since heads need not be hidden_size / num_attention_heads wide. */
  readonly needsHeadSize: boolean;
  /** The rope_theta of files that were written before there was one. */
  readonly oldTheta?: number;
  readonly activationField: "hidden_act" | "hidden_activation";
  /** Whether queries are scaled by query_pre_attn_scalar. */
  readonly scalesByScalar: boolean;
  /** Whether scores and logits may have soft caps. */
  readonly caps: boolean;
  /** Whether some layers rotate no positions. */
  readonly skipsRope: boolean;
  /** Whether layers with a window have a theta of their own. */
  readonly hasLocalRope: boolean;
  /** Whether queries and keys are normalized, head by head. */
  readonly normalizesHeads: boolean;
  /** Gemma: norms multiply by 1 + w, there is one behind each part of a block too, and embeddings are scaled by √hidden. */
  readonly isGemma: boolean;
  /** Whether queries, keys and values are one projection, and gate and up are another. */
  readonly isFused: boolean;
}

const none: Biases = { inputs: false, output: false, mlp: false };
const everywhere = (has: boolean | null | undefined): Biases => ({
  inputs: has === true,
  output: has === true,
  mlp: false,
});

const plain: Traits = {
  biases: () => none,
  slides: () => false,
  keyValueHeadsMayLack: false,
  needsHeadSize: false,
  activationField: "hidden_act",
  scalesByScalar: false,
  caps: false,
  skipsRope: false,
  hasLocalRope: false,
  normalizesHeads: false,
  isGemma: false,
  isFused: false,
};

const slidesEverywhere = ({ sliding_window }: RawConfig): boolean => sliding_window != null;

/** Qwen: from a layer on, and only where it says so. */
const slidesFrom = ({ use_sliding_window, max_window_layers }: RawConfig, i: number): boolean =>
  use_sliding_window === true && i >= (max_window_layers ?? Number.POSITIVE_INFINITY);

const gemma: Traits = {
  ...plain,
  biases: ({ attention_bias }) => everywhere(attention_bias),
  needsHeadSize: true,
  activationField: "hidden_activation",
  scalesByScalar: true,
  caps: true,
  isGemma: true,
};

export const families = {
  llama: {
    ...plain,
    biases: ({ attention_bias, mlp_bias }) => ({ ...everywhere(attention_bias), mlp: mlp_bias === true }),
    keyValueHeadsMayLack: true,
    oldTheta: 10_000,
  },
  mistral: { ...plain, slides: slidesEverywhere },
  qwen2: { ...plain, biases: () => ({ ...none, inputs: true }), slides: slidesFrom },
  qwen3: {
    ...plain,
    biases: ({ attention_bias }) => everywhere(attention_bias),
    slides: slidesFrom,
    needsHeadSize: true,
    normalizesHeads: true,
  },
  smollm3: {
    ...plain,
    biases: ({ attention_bias, mlp_bias }) => ({ ...everywhere(attention_bias), mlp: mlp_bias === true }),
    slides: slidesFrom,
    skipsRope: true,
  },
  gemma2: { ...gemma, slides: (_, i) => i % 2 === 0 },
  gemma3_text: {
    ...gemma,
    slides: ({ sliding_window_pattern }, i) => (i + 1) % (sliding_window_pattern ?? 6) !== 0,
    hasLocalRope: true,
    normalizesHeads: true,
  },
  phi3: { ...plain, slides: slidesEverywhere, keyValueHeadsMayLack: true, isFused: true },
} as const satisfies Readonly<Record<string, Traits>>;

export type Family = keyof typeof families;

export const isFamily = (name: string): name is Family => Object.hasOwn(families, name);

export const traitsOf = (family: Family): Traits => families[family];
