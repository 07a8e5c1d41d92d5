// A decoder as a graph: token ids [batch, length] to logits [batch, length, vocabulary], of whole sequences or behind a cache.
import type { Builder } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Attribute, Graph } from "../ir/graph.ts";
import { castTensor, numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { minStoredBytes, storedTensor } from "../ir/tensor-source.ts";
import { buildOn } from "../ops/infer.ts";
import { type Checkpoint, derived, transposed } from "./checkpoint.ts";
import type { DecoderConfig, DecoderLayer } from "./config.ts";
import { traitsOf } from "./families.ts";
import { maskOf, type Places, placesBehindCache, placesOfSequence } from "./places.ts";
import { type Rope, ropeTables } from "./rope.ts";

export type DecoderType = "float32" | "float64";

interface Context {
  readonly config: DecoderConfig;
  readonly checkpoint: Checkpoint;
  readonly build: Builder;
  readonly dtype: DecoderType;
  readonly call: (op: string, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>) => string;
  readonly of: (value: number) => string;
  readonly places: Places;
  /** Whether each layer takes the keys and values of what came before, and gives them with its own. */
  readonly hasCache: boolean;
  /** Keys and values of the layers so far, as a cache keeps them. */
  readonly presents: string[];
  /** By window: what is added to the scores. */
  readonly masks: Map<number | undefined, string>;
  /** By frequencies: cosines and sines, [length, rotated]. */
  readonly tables: Map<string, RopeTables>;
}

interface RopeTables {
  readonly cos: string;
  readonly sin: string;
}

interface BuildDecoderOptions {
  readonly name: string;
  readonly dtype: DecoderType;
  /**
   * Whether it goes on from a cache: inputs attention_mask, position_ids and past_key_values.N.key and .value, outputs
   * present.N.key and .value, [batch_size, keyValueHeads, length, headSize], as transformers.js and onnxruntime-genai name them.
   */
  readonly hasCache?: boolean;
}

/** Throws BAD_MODEL where the checkpoint lacks a tensor, has one of another shape, or one that the family does not have. */
export function buildDecoder(
  config: DecoderConfig,
  checkpoint: Checkpoint,
  { name, dtype, hasCache = false }: BuildDecoderOptions,
): Graph {
  const build = buildOn();
  const shape = hasCache ? ["batch_size", "sequence_length"] : ["batch", "length"];
  const ids = build.input("input_ids", { dtype: "int64", shape });
  const context = contextOf({ config, checkpoint, build, dtype, hasCache }, ids);
  const embedding = build.constant(
    checkpoint.take("model.embed_tokens.weight", [config.vocabulary, config.hidden]),
    "model.embed_tokens.weight",
  );
  const embedded = context.call("Gather", [embedding, ids], { axis: 0 });
  const start = traitsOf(config.family).isGemma
    ? context.call("Mul", [embedded, context.of(Math.sqrt(config.hidden))])
    : embedded;
  const hidden = config.layers.reduce((x, layer, i) => block(context, layer, `model.layers.${i}`, x), start);
  const normalized = norm(context, "model.norm", hidden, config.hidden);
  const scores = head(context, embedding, normalized);
  checkUntaken(checkpoint, config);
  const logits = build.node("Identity", [capped(context, scores, config.logitCap)], {}, "logits");
  const graph = build.graph([logits, ...context.presents], name);
  const isComputed = (constant: string): boolean => !checkpoint.has(constant);
  return { ...graph, literals: new Set([...graph.constants.keys()].filter(isComputed)) };
}

function contextOf(
  made: Pick<Context, "config" | "checkpoint" | "build" | "dtype" | "hasCache">,
  ids: string,
): Context {
  const { build, dtype, hasCache } = made;
  return {
    ...made,
    call: (op, inputs, attributes) => build.node(op, inputs, attributes),
    of: (value) => build.constant(tensorOf(dtype, [], [value]), "number"),
    places: (hasCache ? placesBehindCache : placesOfSequence)(build, ids),
    presents: [],
    masks: new Map(),
    tables: new Map(),
  };
}

/** The buffers of older checkpoints, which are computed. */
const computed = /\.rotary_emb\.inv_freq$/;

function checkUntaken(checkpoint: Checkpoint, { family, isTied }: DecoderConfig): void {
  const left = checkpoint.untaken().filter((name) => !computed.test(name) && !(isTied && name === headName));
  if (left.length === 0) return;
  const shown = left.slice(0, 5).map((name) => `"${name}"`);
  throw new FrostbitError(
    "BAD_MODEL",
    `the checkpoint has ${left.length} tensors that a ${family} of this config.json does not have: ${shown.join(", ")}${left.length > 5 ? ", …" : ""}.`,
  );
}

const headName = "lm_head.weight";

/** In Einsum's form, so that neither a tied embedding nor a head of its own counts as a layer to quantize. */
function head({ config, checkpoint, build, call }: Context, embedding: string, x: string): string {
  const isTied = config.isTied ?? !checkpoint.has(headName);
  const weight = isTied
    ? embedding
    : build.constant(checkpoint.take(headName, [config.vocabulary, config.hidden]), headName);
  return call("Einsum", [x, weight], { equation: "blh,vh->blv" });
}

function block(context: Context, layer: DecoderLayer, name: string, x: string): string {
  const { config, call } = context;
  const { isGemma } = traitsOf(config.family);
  const normalized = (part: string, value: string): string => norm(context, `${name}.${part}`, value, config.hidden);
  const behind = (part: string, value: string): string => (isGemma ? normalized(part, value) : value);
  const attended = attention(context, layer, `${name}.self_attn`, normalized("input_layernorm", x));
  const middle = call("Add", [x, behind("post_attention_layernorm", attended)]);
  const before = isGemma ? "pre_feedforward_layernorm" : "post_attention_layernorm";
  const fed = feedForward(context, `${name}.mlp`, normalized(before, middle));
  return call("Add", [middle, behind("post_feedforward_layernorm", fed)]);
}

/** Gemma multiplies by 1 + w. */
function norm({ config, checkpoint, build, call }: Context, name: string, x: string, size: number): string {
  const weight = checkpoint.take(`${name}.weight`, [size]);
  const factor = traitsOf(config.family).isGemma ? plusOne(weight) : weight;
  return call("RMSNormalization", [x, build.constant(factor, `${name}.weight`)], { axis: -1, epsilon: config.epsilon });
}

const plusOne = (weight: Tensor): Tensor => ({ ...weight, data: numbersOf(weight).map((value) => value + 1) });

interface Projection {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  readonly hasBias: boolean;
  /** What becomes of the rows of weight and bias, as they are in the file. */
  readonly arrange?: (rows: Tensor) => Tensor;
}

/** x Wᵀ + b: checkpoints have [outputs, inputs], the graph [inputs, outputs]. */
function project(context: Context, x: string, projection: Projection): string {
  const { build, call, checkpoint } = context;
  const { name, inputs, outputs, hasBias, arrange = (rows) => rows } = projection;
  const weight = transposed(arrange(checkpoint.take(`${name}.weight`, [outputs, inputs])));
  const product = build.node("MatMul", [x, build.constant(weight, `${name}.weight`)], {}, name);
  if (!hasBias) return product;
  return call("Add", [product, build.constant(arrange(checkpoint.take(`${name}.bias`, [outputs])), `${name}.bias`)]);
}

/** Parts of these sizes along the last axis. */
const split = ({ build }: Context, x: string, sizes: readonly number[]): readonly string[] =>
  build.nodes(
    "Split",
    [x, build.ints(sizes)],
    sizes.map(() => true),
    { axis: -1 },
  );

function attention(context: Context, layer: DecoderLayer, name: string, x: string): string {
  const { config, call, build, of } = context;
  const { heads, keyValueHeads, headSize } = config;
  const [query, key, value] = queryKeyValue(context, name, x).map((projected, i) =>
    apart(context, projected, i === 0 ? heads : keyValueHeads),
  );
  const placed = (states: string, which: "q" | "k"): string => {
    const own = traitsOf(config.family).normalizesHeads
      ? norm(context, `${name}.${which}_norm`, states, headSize)
      : states;
    return layer.rope ? rotated(context, layer.rope, own) : own;
  };
  const reshape = (states: string, shape: readonly number[]): string => call("Reshape", [states, build.ints(shape)]);
  // The heads that share a key lie beside each other: [batch, keyValueHeads, heads / keyValueHeads · query, …].
  const scaledQuery = call("Mul", [placed(query, "q"), of(config.scoreScale)]);
  const grouped = reshape(scaledQuery, [0, keyValueHeads, -1, headSize]);
  const [allKeys, values] = withCache(context, placed(key, "k"), value);
  const keys = call("Transpose", [allKeys], { perm: [0, 1, 3, 2] });
  const scores = reshape(build.node("MatMul", [grouped, keys], {}, `${name}.scores`), [0, heads, -1, 0]);
  const seen = call("Add", [capped(context, scores, config.scoreCap), scoreMask(context, layer.window)]);
  const weights = reshape(call("Softmax", [seen], { axis: -1 }), [0, keyValueHeads, -1, 0]);
  const mixed = reshape(build.node("MatMul", [weights, values], {}, `${name}.mixed`), [0, heads, -1, headSize]);
  const joined = reshape(call("Transpose", [mixed], { perm: [0, 2, 1, 3] }), [0, 0, heads * headSize]);
  return project(context, joined, {
    name: `${name}.o_proj`,
    inputs: heads * headSize,
    outputs: config.hidden,
    hasBias: config.biases.output,
  });
}

/** Keys and values, behind those of the cache where there is one. */
function withCache(
  { build, config, dtype, hasCache, presents }: Context,
  key: string,
  value: string,
): [string, string] {
  if (!hasCache) return [key, value];
  const layer = presents.length / 2;
  const shape = ["batch_size", config.keyValueHeads, "past_sequence_length", config.headSize];
  const behind = (which: "key" | "value", own: string): string => {
    const past = build.input(`past_key_values.${layer}.${which}`, { dtype, shape });
    return build.node("Concat", [past, own], { axis: 2 }, `present.${layer}.${which}`);
  };
  const all: [string, string] = [behind("key", key), behind("value", value)];
  presents.push(...all);
  return all;
}

function queryKeyValue(context: Context, name: string, x: string): readonly string[] {
  const { config } = context;
  const { heads, keyValueHeads, headSize, hidden, biases } = config;
  const sizes = [heads, keyValueHeads, keyValueHeads].map((count) => count * headSize);
  const projection = { inputs: hidden, hasBias: biases.inputs };
  if (traitsOf(config.family).isFused) {
    const outputs = sizes.reduce((sum, size) => sum + size);
    return split(context, project(context, x, { ...projection, name: `${name}.qkv_proj`, outputs }), sizes);
  }
  const arrange = config.isInterleaved ? (rows: Tensor) => halvesOfPairs(rows, headSize) : undefined;
  return ["q", "k", "v"].map((which, i) =>
    project(context, x, {
      ...projection,
      name: `${name}.${which}_proj`,
      outputs: sizes[i],
      ...(arrange && which !== "v" && { arrange }),
    }),
  );
}

/** [batch, length, heads · size] to [batch, heads, length, size] */
function apart({ config, build, call }: Context, x: string, heads: number): string {
  const separate = call("Reshape", [x, build.ints([0, 0, heads, config.headSize])]);
  return call("Transpose", [separate], { perm: [0, 2, 1, 3] });
}

/** Rows of rotated pairs (2i, 2i + 1) in the order of pairs (i, i + size/2), in which the graph rotates them: scores stay as they are. */
function halvesOfPairs(rows: Tensor, size: number): Tensor {
  const { shape } = rows;
  return derived(rows, rows.dtype, shape, (value) => {
    const from = numbersOf(value);
    const to = from.slice();
    const width = from.length / shape[0];
    for (let row = 0; row < shape[0]; row++) {
      const place = row % size;
      const source = row - place + (place < size / 2 ? 2 * place : 2 * place - size + 1);
      to.set(from.subarray(source * width, (source + 1) * width) as never, row * width);
    }
    return { ...value, data: to };
  });
}

/** y = x · cos + (x₂, x₁) · (−sin, sin), of the first `rotated` numbers of each head. */
function rotated(context: Context, rope: Rope, x: string): string {
  const { config, call } = context;
  const half = rope.frequencies.length;
  const rest = config.headSize - 2 * half;
  const { cos, sin } = tablesOf(context, rope);
  const [turning, still] = rest === 0 ? [x] : split(context, x, [2 * half, rest]);
  const [first, second] = split(context, turning, [half, half]);
  const swapped = call("Concat", [second, first], { axis: -1 });
  const turned = call("Add", [call("Mul", [turning, cos]), call("Mul", [swapped, sin])]);
  return still === undefined ? turned : call("Concat", [turned, still], { axis: -1 });
}

function tablesOf({ tables, build, call, config, dtype, places }: Context, rope: Rope): RopeTables {
  const key = rope.frequencies.join();
  const found = tables.get(key);
  if (found) return found;
  const rowsFor = (which: "cos" | "sin"): string => {
    const shape = [config.contextLength, 2 * rope.frequencies.length];
    const make = (): Tensor["data"] =>
      castTensor(tensorOf("float64", shape, ropeTables(rope, shape[0])[which]), dtype).data;
    const isLarge = shape[0] * shape[1] * 4 >= minStoredBytes;
    const table = isLarge ? storedTensor(dtype, shape, make) : { dtype, shape, data: make() };
    return call("Gather", [build.constant(table, `rope_${which}`), places.positions], { axis: 0 });
  };
  const made = { cos: rowsFor("cos"), sin: rowsFor("sin") };
  tables.set(key, made);
  return made;
}

function scoreMask({ masks, places, build, dtype }: Context, window: number | undefined): string {
  const found = masks.get(window);
  if (found !== undefined) return found;
  const mask = maskOf(build, places, { dtype, window });
  masks.set(window, mask);
  return mask;
}

/** c · tanh(x / c) */
function capped({ call, of }: Context, x: string, cap: number | undefined): string {
  return cap === undefined ? x : call("Mul", [call("Tanh", [call("Div", [x, of(cap)])]), of(cap)]);
}

function feedForward(context: Context, name: string, x: string): string {
  const { config, call } = context;
  const { hidden, intermediate, biases } = config;
  const projection = { inputs: hidden, outputs: intermediate, hasBias: biases.mlp };
  const [gate, up] = traitsOf(config.family).isFused
    ? split(context, project(context, x, { ...projection, name: `${name}.gate_up_proj`, outputs: 2 * intermediate }), [
        intermediate,
        intermediate,
      ])
    : ["gate", "up"].map((which) => project(context, x, { ...projection, name: `${name}.${which}_proj` }));
  return project(context, call("Mul", [activated(context, gate), up]), {
    name: `${name}.down_proj`,
    inputs: intermediate,
    outputs: hidden,
    hasBias: biases.mlp,
  });
}

function activated({ config, call }: Context, x: string): string {
  if (config.activation === "silu") return call("Mul", [x, call("Sigmoid", [x])]);
  return call("Gelu", [x], { approximate: config.activation === "gelu" ? "none" : "tanh" });
}
