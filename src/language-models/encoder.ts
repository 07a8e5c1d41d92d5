// An encoder as a graph: token ids and their mask [batch, sequence] to hidden states, or to the scores of classes.
import type { Builder } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Attribute, Graph } from "../ir/graph.ts";
import { castTensor, numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { type Checkpoint, transposed } from "./checkpoint.ts";
import { type EncoderActivation, type EncoderConfig, encoderTraits } from "./encoder-config.ts";
import { masked, sizeAlong } from "./places.ts";
import { ropeTables } from "./rope.ts";

export type EncoderType = "float32" | "float64";

interface Context {
  readonly config: EncoderConfig;
  readonly checkpoint: Checkpoint;
  readonly build: Builder;
  readonly dtype: EncoderType;
  readonly call: (op: string, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>) => string;
  readonly number: (value: number) => string;
  /** A tensor's name in the checkpoint, from its name in the encoder. */
  readonly inEncoder: (name: string) => string;
  readonly ids: string;
  readonly mask: string;
  /** Of the sequence, int64 [sequence]. */
  readonly positions: string;
}

/** Throws BAD_MODEL where the checkpoint lacks a tensor, has one of another shape, or one that the family does not have. */
export function buildEncoder(
  config: EncoderConfig,
  checkpoint: Checkpoint,
  { name, dtype }: { readonly name: string; readonly dtype: EncoderType },
): Graph {
  const context = contextOf(config, checkpoint, dtype);
  const { build } = context;
  const hidden = config.modern ? modernStates(context) : states(context);
  const output = build.node(
    "Identity",
    [outputOf(context, hidden)],
    {},
    config.output === "hidden" ? "last_hidden_state" : "logits",
  );
  checkUntaken(context);
  const graph = build.graph([output], name);
  const isComputed = (constant: string): boolean => !checkpoint.has(constant);
  return { ...graph, literals: new Set([...graph.constants.keys()].filter(isComputed)) };
}

function contextOf(config: EncoderConfig, checkpoint: Checkpoint, dtype: EncoderType): Context {
  const build = buildOn();
  const [ids, mask] = ["input_ids", "attention_mask"].map((input) => tokensInput(build, input));
  const { prefix, names } = encoderTraits(config.family);
  const hasPrefix = checkpoint.has(`${prefix}.${names.words}.weight`);
  const int = (value: number): string => build.constant(tensorOf("int64", [], [value]), "int");
  return {
    config,
    checkpoint,
    build,
    dtype,
    call: (op, inputs, attributes) => build.node(op, inputs, attributes),
    number: (value) => build.constant(tensorOf(dtype, [], [value]), "number"),
    inEncoder: (tensor) => (hasPrefix ? `${prefix}.${tensor}` : tensor),
    ids,
    mask,
    positions: build.node("Range", [int(0), sizeAlong(build, ids, 1), int(1)]),
  };
}

const tokensInput = (build: Builder, name: string): string =>
  build.input(name, { dtype: "int64", shape: ["batch_size", "sequence_length"] });

/** What a checkpoint may have besides: poolers and heads of other tasks, and buffers that are computed. */
const idle = /^(\w+\.)?(pooler\.|cls\.|lm_head\.|vocab_|head\.|decoder\.|embeddings\.position_ids$)|\.rotary_emb\./;

function checkUntaken({ checkpoint, config }: Context): void {
  const left = checkpoint.untaken().filter((name) => !idle.test(name));
  if (left.length === 0) return;
  const shown = left.slice(0, 5).map((name) => `"${name}"`);
  throw new FrostbitError(
    "BAD_MODEL",
    `the checkpoint has ${left.length} tensors that a ${config.family} of this config.json does not have: ${shown.join(", ")}${left.length > 5 ? ", …" : ""}. Hidden states and classes of sequences and of tokens are read (architectures …Model, …ForSequenceClassification, …ForTokenClassification).`,
  );
}

/** A table's constant. */
const table = ({ build, checkpoint }: Context, name: string, rows: number, columns: number): string =>
  build.constant(checkpoint.take(`${name}.weight`, [rows, columns]), `${name}.weight`);

function norm({ build, checkpoint, config, call }: Context, name: string, x: string, hasBias = true): string {
  // Checkpoints that came from TensorFlow have other names.
  const [weight, bias] = checkpoint.has(`${name}.gamma`) ? ["gamma", "beta"] : ["weight", "bias"];
  const parts = hasBias ? [weight, bias] : [weight];
  const constants = parts.map((part) =>
    build.constant(checkpoint.take(`${name}.${part}`, [config.hidden]), `${name}.${part}`),
  );
  return call("LayerNormalization", [x, ...constants], { axis: -1, epsilon: config.epsilon });
}

interface Projection {
  readonly inputs: number;
  readonly outputs: number;
  readonly hasBias?: boolean;
}

/** x Wᵀ + b: checkpoints have [outputs, inputs], the graph [inputs, outputs]. */
function project(
  { build, checkpoint, call }: Context,
  name: string,
  x: string,
  { inputs, outputs, hasBias = true }: Projection,
): string {
  const weight = transposed(checkpoint.take(`${name}.weight`, [outputs, inputs]));
  const product = build.node("MatMul", [x, build.constant(weight, `${name}.weight`)], {}, name);
  if (!hasBias) return product;
  return call("Add", [product, build.constant(checkpoint.take(`${name}.bias`, [outputs]), `${name}.bias`)]);
}

function activated({ call }: Context, activation: EncoderActivation, x: string): string {
  if (activation === "relu") return call("Relu", [x]);
  if (activation === "silu") return call("Mul", [x, call("Sigmoid", [x])]);
  return call("Gelu", [x], { approximate: activation === "gelu" ? "none" : "tanh" });
}

/** What is added to scores: 0 where a token is none of padding, and within reach. */
function scoreMask({ build, call, number, mask, positions }: Context, reach?: number): string {
  const tokens = call("Unsqueeze", [call("Cast", [mask], { to: "bool" }), build.ints([1, 2])]);
  const near = (size: number): string => {
    const apart = call("Abs", [call("Sub", [call("Unsqueeze", [positions, build.ints([1])]), positions])]);
    return call("LessOrEqual", [apart, build.constant(tensorOf("int64", [], [size]), "reach")]);
  };
  const seen = reach === undefined ? tokens : call("And", [tokens, near(reach)]);
  return call("Where", [seen, number(0), number(masked)]);
}

/** Heads that attend, [batch, heads, sequence, size] each, joined again to [batch, sequence, hidden]. */
function attend(
  { build, call, number, config }: Context,
  name: string,
  parts: readonly string[],
  bias: string,
): string {
  const [query, key, value] = parts;
  const scaled = call("Mul", [query, number((config.hidden / config.heads) ** -0.5)]);
  const scores = build.node("MatMul", [scaled, call("Transpose", [key], { perm: [0, 1, 3, 2] })], {}, `${name}.scores`);
  const weights = call("Softmax", [call("Add", [scores, bias])], { axis: -1 });
  const mixed = build.node("MatMul", [weights, value], {}, `${name}.mixed`);
  return call("Reshape", [call("Transpose", [mixed], { perm: [0, 2, 1, 3] }), build.ints([0, 0, config.hidden])]);
}

const apart = ({ build, call, config }: Context, x: string): string =>
  call("Transpose", [call("Reshape", [x, build.ints([0, 0, config.heads, config.hidden / config.heads])])], {
    perm: [0, 2, 1, 3],
  });

/** BERT and its kin: normalizations behind each part. */
function states(context: Context): string {
  const { config, call, inEncoder } = context;
  const { names, hasDistances } = encoderTraits(config.family);
  const { hidden, intermediate } = config;
  const masks = scoreMask(context);
  const bias = hasDistances ? call("Add", [distanceBias(context), masks]) : masks;
  let x = embedded(context);
  for (let layer = 0; layer < config.layers; layer++) {
    const nameOf = (part: string): string => inEncoder(`${names.layer}.${layer}.${part}`);
    const square = { inputs: hidden, outputs: hidden };
    const parts = [names.query, names.key, names.value].map((part) =>
      apart(context, project(context, nameOf(part), x, square)),
    );
    const mixed = attend(context, nameOf("attention"), parts, bias);
    const attended = project(context, nameOf(names.output), mixed, square);
    const middle = norm(context, nameOf(names.attentionNorm), call("Add", [attended, x]));
    const up = project(context, nameOf(names.up), middle, { inputs: hidden, outputs: intermediate });
    const down = project(context, nameOf(names.down), activated(context, config.activation, up), {
      inputs: intermediate,
      outputs: hidden,
    });
    x = norm(context, nameOf(names.feedNorm), call("Add", [down, middle]));
  }
  return x;
}

function embedded(context: Context): string {
  const { config, build, call, inEncoder, ids } = context;
  const { names, takesTypes } = encoderTraits(config.family);
  const { hidden } = config;
  const rows = (name: string, count: number, indices: string): string =>
    call("Gather", [table(context, inEncoder(name), count, hidden), indices], { axis: 0 });
  const words = rows(names.words, config.vocabulary, ids);
  const placed = call("Add", [words, rows(names.positions, config.positions, positionIds(context))]);
  if (config.types === 0) return norm(context, inEncoder(names.norm), placed);
  const types = takesTypes ? tokensInput(build, "token_type_ids") : build.constant(tensorOf("int64", [], [0]), "type");
  return norm(context, inEncoder(names.norm), call("Add", [placed, rows(names.types, config.types, types)]));
}

/** RoBERTa counts tokens that are no padding, from behind the padding's number on. */
function positionIds({ config, build, call, ids, positions }: Context): string {
  if (!encoderTraits(config.family).countsTokens) return positions;
  const padding = build.constant(tensorOf("int64", [], [config.padding]), "padding");
  const isToken = call("Cast", [call("Not", [call("Equal", [ids, padding])])], { to: "int64" });
  const counted = call("CumSum", [isToken, build.constant(tensorOf("int64", [], [1]), "axis")]);
  return call("Add", [call("Mul", [counted, isToken]), padding]);
}

/** From this distance on, all tokens are as far. */
const furthest = 128;
const buckets = 32;

/** MPNet's bias of scores, [1, heads, query, key]: rows of a table by the key's place after the query's. */
function distanceBias(context: Context): string {
  const { config, build, call, checkpoint, dtype, inEncoder, positions } = context;
  const name = `${inEncoder("encoder.relative_attention_bias")}.weight`;
  const given = checkpoint.take(name, [buckets, config.heads]);
  const rows = Array.from({ length: 2 * furthest + 1 }, (_, i) => bucketOf(i - furthest));
  const values = numbersOf(given);
  const spread = tensorOf(
    dtype,
    [rows.length, config.heads],
    rows.flatMap((row) => [...values.subarray(row * config.heads, (row + 1) * config.heads)]),
  );
  const distance = call("Sub", [positions, call("Unsqueeze", [positions, build.ints([1])])]);
  const int = (value: number): string => build.constant(tensorOf("int64", [], [value]), "int");
  const row = call("Add", [call("Clip", [distance, int(-furthest), int(furthest)]), int(furthest)]);
  const biases = call("Gather", [build.constant(spread, name), row], { axis: 0 });
  return call("Unsqueeze", [call("Transpose", [biases], { perm: [2, 0, 1] }), build.ints([0])]);
}

/** Near distances have buckets of their own, far ones by their logarithm, in float32 as PyTorch computes them. */
function bucketOf(distance: number): number {
  const half = buckets / 2;
  const exact = half / 2;
  const side = distance > 0 ? half : 0;
  const far = Math.abs(distance);
  if (far < exact) return side + far;
  const share = Math.fround(Math.fround(Math.log(Math.fround(far / exact))) / Math.log(furthest / exact));
  return side + Math.min(half - 1, exact + Math.floor(Math.fround(share * (half - exact))));
}

/** ModernBERT: normalizations before each part, rotated positions, layers that see a window. */
function modernStates(context: Context): string {
  const { config, call, inEncoder, build } = context;
  const { modern, hidden, intermediate } = config;
  if (!modern) throw new Error("internal: no config of ModernBERT");
  const { names } = encoderTraits(config.family);
  const normed = (name: string, x: string): string => norm(context, inEncoder(name), x, modern.hasNormBias);
  const split = (x: string, sizes: readonly number[]): readonly string[] =>
    build.nodes(
      "Split",
      [x, build.ints(sizes)],
      sizes.map(() => true),
      { axis: -1 },
    );
  const words = table(context, inEncoder(names.words), config.vocabulary, hidden);
  let x = normed(names.norm, call("Gather", [words, context.ids], { axis: 0 }));
  const masks = new Map<number | undefined, string>();
  const turns = new Map<number, RopeTables>();
  for (const [i, { reach, theta }] of modern.layers.entries()) {
    const nameOf = (part: string): string => `${names.layer}.${i}.${part}`;
    const mask = masks.get(reach) ?? scoreMask(context, reach);
    masks.set(reach, mask);
    const turn = turns.get(theta) ?? turnsOf(context, theta);
    turns.set(theta, turn);
    const read = i === 0 ? x : normed(nameOf("attn_norm"), x);
    const biased = { hasBias: modern.hasAttentionBias };
    const all = project(context, inEncoder(nameOf("attn.Wqkv")), read, {
      inputs: hidden,
      outputs: 3 * hidden,
      ...biased,
    });
    const [query, key, value] = split(all, [hidden, hidden, hidden]).map((part) => apart(context, part));
    const parts = [turned(context, query, turn), turned(context, key, turn), value];
    const mixed = attend(context, inEncoder(nameOf("attn")), parts, mask);
    const attended = project(context, inEncoder(nameOf("attn.Wo")), mixed, {
      inputs: hidden,
      outputs: hidden,
      ...biased,
    });
    const middle = call("Add", [x, attended]);
    const gated = { hasBias: modern.hasFeedBias };
    const up = project(context, inEncoder(nameOf("mlp.Wi")), normed(nameOf("mlp_norm"), middle), {
      inputs: hidden,
      outputs: 2 * intermediate,
      ...gated,
    });
    const [given, gate] = split(up, [intermediate, intermediate]);
    const fed = call("Mul", [activated(context, config.activation, given), gate]);
    x = call("Add", [
      middle,
      project(context, inEncoder(nameOf("mlp.Wo")), fed, { inputs: intermediate, outputs: hidden, ...gated }),
    ]);
  }
  return normed("final_norm", x);
}

interface RopeTables {
  readonly cos: string;
  readonly sin: string;
}

function turnsOf({ config, build, call, dtype, positions }: Context, theta: number): RopeTables {
  const size = config.hidden / config.heads;
  const frequencies = Array.from({ length: size / 2 }, (_, i) => theta ** ((-2 * i) / size));
  const tables = ropeTables({ frequencies }, config.positions);
  const rowsOf = (which: "cos" | "sin"): string => {
    const values: Tensor = castTensor(tensorOf("float64", [config.positions, size], tables[which]), dtype);
    return call("Gather", [build.constant(values, `rope_${which}`), positions], { axis: 0 });
  };
  return { cos: rowsOf("cos"), sin: rowsOf("sin") };
}

/** y = x · cos + (x₂, x₁) · (−sin, sin) */
function turned({ build, call, config }: Context, x: string, { cos, sin }: RopeTables): string {
  const half = config.hidden / config.heads / 2;
  const [first, second] = build.nodes("Split", [x, build.ints([half, half])], [true, true], { axis: -1 });
  const swapped = call("Concat", [second, first], { axis: -1 });
  return call("Add", [call("Mul", [x, cos]), call("Mul", [swapped, sin])]);
}

function outputOf(context: Context, hidden: string): string {
  const { config } = context;
  if (config.output === "hidden") return hidden;
  return config.output === "sequence" ? classesOfSequence(context, hidden) : classesOfTokens(context, hidden);
}

/** [batch, hidden] */
const firstToken = ({ build, call }: Context, hidden: string): string =>
  call("Gather", [hidden, build.constant(tensorOf("int64", [], [0]), "first")], { axis: 1 });

function classesOfSequence(context: Context, hidden: string): string {
  const { config, call } = context;
  const { head } = encoderTraits(config.family);
  const classes = { inputs: config.hidden, outputs: config.labels };
  const square = { inputs: config.hidden, outputs: config.hidden };
  if (head === "modern") {
    const pooled = config.modern?.poolsMean ? meanOf(context, hidden) : firstToken(context, hidden);
    return project(context, "classifier", modernHead(context, pooled), classes);
  }
  const dense = project(context, head.dense, firstToken(context, hidden), square);
  return project(context, head.classifier, call(head.activation === "tanh" ? "Tanh" : "Relu", [dense]), classes);
}

function classesOfTokens(context: Context, hidden: string): string {
  const { config } = context;
  const read = config.modern ? modernHead(context, hidden) : hidden;
  return project(context, "classifier", read, { inputs: config.hidden, outputs: config.labels });
}

function modernHead(context: Context, x: string): string {
  const { config } = context;
  const hasBias = config.modern?.hasHeadBias ?? false;
  const dense = project(context, "head.dense", x, { inputs: config.hidden, outputs: config.hidden, hasBias });
  const { headActivation = config.activation, hasNormBias = false } = config.modern ?? {};
  return norm(context, "head.norm", activated(context, headActivation, dense), hasNormBias);
}

/** Over the tokens that are no padding. */
function meanOf({ build, call, mask, dtype }: Context, hidden: string): string {
  const held = call("Unsqueeze", [call("Cast", [mask], { to: dtype }), build.ints([-1])]);
  const sum = (x: string): string => call("ReduceSum", [x, build.ints([1])], { keepdims: 0 });
  return call("Div", [sum(call("Mul", [hidden, held])), sum(held)]);
}
