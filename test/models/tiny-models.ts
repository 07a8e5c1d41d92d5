// Tiny versions of the architectures that people bring, built through the builder with seeded weights.
import type { Builder } from "../../src/ir/builder.ts";
import type { DType } from "../../src/ir/dtype.ts";
import type { Attribute, Graph, OnnxModel } from "../../src/ir/graph.ts";
import { type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { createRandom, type Random } from "../support/random.ts";
import { tinyOrigin } from "../support/tiny-classifier.ts";

export type FloatType = "float32" | "float64";

export const classes = 4;
const size = 8;

export interface TinyModel {
  readonly name: string;
  readonly build: (dtype: FloatType) => Graph;
  /** The oldest opset that has all its operators. */
  readonly opset: number;
  readonly isChannelsLast: boolean;
}

interface Make {
  readonly build: Builder;
  readonly random: Random;
  readonly dtype: FloatType;
  readonly normal: (name: string, shape: readonly number[], deviation?: number, mean?: number) => string;
  readonly node: (
    op: string,
    inputs: readonly string[],
    name: string,
    attributes?: Record<string, Attribute>,
  ) => string;
}

function make(dtype: FloatType, seed: number): Make {
  const random = createRandom(seed);
  const build = buildOn();
  const drawn = (shape: readonly number[], deviation: number, mean: number): Tensor =>
    tensorOf(
      dtype,
      shape,
      Array.from(random.tensor("float64", shape).data as Float64Array, (value) => mean + deviation * value),
    );
  return {
    build,
    random,
    dtype,
    normal: (name, shape, deviation = 0.1, mean = 0) => build.constant(drawn(shape, deviation, mean), name),
    node: (op, inputs, name, attributes = {}) => build.node(op, inputs, attributes, name),
  };
}

interface ConvOptions {
  readonly kernel?: number;
  readonly stride?: number;
  readonly group?: number;
  readonly bias?: boolean;
}

function conv(m: Make, name: string, x: string, from: number, to: number, options: ConvOptions = {}): string {
  const { kernel = 3, stride = 1, group = 1, bias = false } = options;
  const pad = stride === kernel ? 0 : Math.floor(kernel / 2);
  const fanIn = (from / group) * kernel * kernel;
  const weight = m.normal(`${name}.weight`, [to, from / group, kernel, kernel], Math.sqrt(2 / fanIn));
  return m.node("Conv", [x, weight, ...(bias ? [m.normal(`${name}.bias`, [to])] : [])], name, {
    kernel_shape: [kernel, kernel],
    strides: [stride, stride],
    pads: [pad, pad, pad, pad],
    group,
  });
}

function batchNorm(m: Make, name: string, x: string, channels: number): string {
  const variance = m.random.uniformTensor(m.dtype, [channels], 0.5, 1.5);
  return m.node(
    "BatchNormalization",
    [
      x,
      m.normal(`${name}.weight`, [channels], 0.2, 1),
      m.normal(`${name}.bias`, [channels], 0.2),
      m.normal(`${name}.running_mean`, [channels]),
      m.build.constant(variance, `${name}.running_var`),
    ],
    name,
    { epsilon: 1e-5 },
  );
}

/** The head of every classifier here: pooled over space, then a Gemm with its weight as PyTorch has it. */
function pooledHead(m: Make, x: string, channels: number): Graph {
  const pooled = m.node("Flatten", [m.node("GlobalAveragePool", [x], "pool")], "flatten", { axis: 1 });
  return m.build.graph([gemm(m, "head", pooled, channels, classes, "logits")]);
}

const gemm = (m: Make, name: string, x: string, from: number, to: number, node = name): string =>
  m.node("Gemm", [x, m.normal(`${name}.weight`, [to, from], 0.5), m.normal(`${name}.bias`, [to])], node, { transB: 1 });

const images = (m: Make): string => m.build.input("input", { dtype: m.dtype, shape: ["N", 3, size, size] });

/** Expanded, depthwise, projected, and added to what came in; ReLU6 as a Clip. */
function mobileNetV2(dtype: FloatType): Graph {
  const m = make(dtype, 21);
  const relu6 = (name: string, x: string): string =>
    m.node("Clip", [x, m.build.scalar(0, x), m.build.scalar(6, x)], name);
  const stem = relu6("stem.relu6", batchNorm(m, "stem.bn", conv(m, "stem", images(m), 3, 6, { stride: 2 }), 6));
  const expanded = relu6("expand.relu6", batchNorm(m, "expand.bn", conv(m, "expand", stem, 6, 12, { kernel: 1 }), 12));
  const depthwise = batchNorm(m, "depthwise.bn", conv(m, "depthwise", expanded, 12, 12, { group: 12 }), 12);
  const projected = conv(m, "project", relu6("depthwise.relu6", depthwise), 12, 6, { kernel: 1 });
  return pooledHead(m, m.node("Add", [stem, batchNorm(m, "project.bn", projected, 6)], "residual"), 6);
}

/** HardSwish, and channels weighed by a squeeze-and-excitation whose result broadcasts over space. */
function mobileNetV3(dtype: FloatType): Graph {
  const m = make(dtype, 22);
  const stem = m.node(
    "HardSwish",
    [batchNorm(m, "stem.bn", conv(m, "stem", images(m), 3, 8, { stride: 2 }), 8)],
    "stem.swish",
  );
  const depthwise = batchNorm(m, "depthwise.bn", conv(m, "depthwise", stem, 8, 8, { group: 8 }), 8);
  const squeezed = m.node("GlobalAveragePool", [depthwise], "se.pool");
  const reduced = m.node("Relu", [conv(m, "se.reduce", squeezed, 8, 4, { kernel: 1, bias: true })], "se.relu");
  const excited = conv(m, "se.expand", reduced, 4, 8, { kernel: 1, bias: true });
  const gate = m.node("HardSigmoid", [excited], "se.gate", { alpha: 1 / 6, beta: 0.5 });
  const weighed = m.node("HardSwish", [m.node("Mul", [depthwise, gate], "se.mul")], "swish");
  return pooledHead(m, batchNorm(m, "project.bn", conv(m, "project", weighed, 8, 8, { kernel: 1 }), 8), 8);
}

const width = 12;
const heads = 3;
const tokens = 5;

/** A product with its bias as an addition, as exporters write linear layers over sequences. */
function linear(m: Make, name: string, x: string, from: number, to: number): string {
  const product = m.node("MatMul", [x, m.normal(`${name}.weight`, [from, to], 1 / Math.sqrt(from))], `${name}.matmul`);
  return m.node("Add", [product, m.normal(`${name}.bias`, [to])], name);
}

const layerNorm = (m: Make, name: string, x: string): string =>
  m.node(
    "LayerNormalization",
    [x, m.normal(`${name}.weight`, [width], 0.2, 1), m.normal(`${name}.bias`, [width])],
    name,
    {
      axis: -1,
      epsilon: 1e-5,
    },
  );

/** `[batch, ...rest]`, computed from a value's shape as exporters do for a free batch. */
function shapeWithBatch(m: Make, x: string, rest: readonly number[]): string {
  const batch = m.node("Gather", [m.node("Shape", [x], "shape"), m.build.ints([0])], "batch", { axis: 0 });
  return m.node("Concat", [batch, m.build.ints(rest)], "shape_with_batch", { axis: 0 });
}

function embedPatches(m: Make): string {
  const patches = conv(m, "patches", images(m), 3, width, { kernel: 4, stride: 4, bias: true });
  const flat = m.node("Reshape", [patches, shapeWithBatch(m, patches, [width, -1])], "patches.flat");
  const sequence = m.node("Transpose", [flat], "patches.sequence", { perm: [0, 2, 1] });
  const token = m.node(
    "Expand",
    [m.normal("class_token", [1, 1, width], 0.5), shapeWithBatch(m, patches, [1, width])],
    "class",
  );
  const joined = m.node("Concat", [token, sequence], "tokens", { axis: 1 });
  return m.node("Add", [joined, m.normal("position", [1, tokens, width], 0.2)], "embedded");
}

function attention(m: Make, x: string): string {
  const split = (name: string, perm: readonly number[]): string => {
    const projected = linear(m, name, x, width, width);
    const apart = m.node("Reshape", [projected, m.build.ints([0, -1, heads, width / heads])], `${name}.heads`);
    return m.node("Transpose", [apart], `${name}.transposed`, { perm });
  };
  const [query, key, value] = [split("q", [0, 2, 1, 3]), split("k", [0, 2, 3, 1]), split("v", [0, 2, 1, 3])];
  const scores = m.node("MatMul", [query, key], "scores");
  const scaled = m.node("Div", [scores, m.build.scalar(Math.sqrt(width / heads), scores)], "scores.scaled");
  const mixed = m.node("MatMul", [m.node("Softmax", [scaled], "attention", { axis: -1 }), value], "mixed");
  const joined = m.node("Transpose", [mixed], "mixed.transposed", { perm: [0, 2, 1, 3] });
  return linear(
    m,
    "projection",
    m.node("Reshape", [joined, m.build.ints([0, -1, width])], "mixed.joined"),
    width,
    width,
  );
}

/** x/2 · (1 + erf(x/√2)), node by node. */
function composedGelu(m: Make, x: string): string {
  const erf = m.node("Erf", [m.node("Div", [x, m.build.scalar(Math.SQRT2, x)], "gelu.div")], "gelu.erf");
  const weighed = m.node("Mul", [x, m.node("Add", [erf, m.build.scalar(1, x)], "gelu.add")], "gelu.mul");
  return m.node("Mul", [weighed, m.build.scalar(0.5, x)], "gelu.half");
}

/** Patches, a class token, one pre-norm transformer block, and the class token's Gemm. */
function visionTransformer(dtype: FloatType, gelu: "operator" | "composed"): Graph {
  const m = make(dtype, 23);
  const embedded = embedPatches(m);
  const attended = m.node("Add", [embedded, attention(m, layerNorm(m, "norm1", embedded))], "residual1");
  const hidden = linear(m, "mlp.fc1", layerNorm(m, "norm2", attended), width, 2 * width);
  const active =
    gelu === "operator" ? m.node("Gelu", [hidden], "gelu", { approximate: "none" }) : composedGelu(m, hidden);
  const residual = m.node("Add", [attended, linear(m, "mlp.fc2", active, 2 * width, width)], "residual2");
  const index = m.build.constant(tensorOf("int64", [], [0]), "class_index");
  const token = m.node("Gather", [layerNorm(m, "norm3", residual), index], "class_out", { axis: 1 });
  return m.build.graph([gemm(m, "head", token, width, classes, "logits")]);
}

/** Down by pooling and stride, up by ConvTranspose and Resize, joined by Concat. */
function uNet(dtype: FloatType): Graph {
  const m = make(dtype, 24);
  const relu = (name: string, x: string): string => m.node("Relu", [x], `${name}.relu`);
  const top = relu("encode1", conv(m, "encode1", images(m), 3, 6, { bias: true }));
  const pooled = m.node("MaxPool", [top], "down1", { kernel_shape: [2, 2], strides: [2, 2] });
  const middle = relu("encode2", conv(m, "encode2", pooled, 6, 8, { bias: true }));
  const bottom = relu("encode3", conv(m, "encode3", middle, 8, 8, { stride: 2, bias: true }));
  const scales = m.build.constant(tensorOf("float32", [4], [1, 1, 2, 2]), "resize.scales");
  const resized = m.build.node(
    "Resize",
    [bottom, undefined, scales],
    { mode: "linear", coordinate_transformation_mode: "half_pixel" },
    "up2",
  );
  const joined = m.node("Concat", [resized, middle], "join2", { axis: 1 });
  const decoded = relu("decode2", conv(m, "decode2", joined, 16, 8, { bias: true }));
  const weight = m.normal("up1.weight", [8, 6, 2, 2], 0.3);
  const up = m.node("ConvTranspose", [decoded, weight, m.normal("up1.bias", [6])], "up1", {
    kernel_shape: [2, 2],
    strides: [2, 2],
  });
  const last = relu(
    "decode1",
    conv(m, "decode1", m.node("Concat", [up, top], "join1", { axis: 1 }), 12, 6, { bias: true }),
  );
  return pooledHead(m, last, 6);
}

/** Channels come last, and probabilities come out. */
function squeezeNet(dtype: FloatType): Graph {
  const m = make(dtype, 25);
  const relu = (name: string, x: string, from: number, to: number, kernel: number): string =>
    m.node("Relu", [conv(m, name, x, from, to, { kernel, bias: true })], `${name}.relu`);
  const input = m.build.input("input", { dtype, shape: ["N", size, size, 3] });
  const stem = relu("stem", m.node("Transpose", [input], "channels_first", { perm: [0, 3, 1, 2] }), 3, 8, 3);
  const pooled = m.node("MaxPool", [stem], "pool1", { kernel_shape: [3, 3], strides: [2, 2] });
  const squeezed = relu("fire.squeeze", pooled, 8, 4, 1);
  const expanded = [relu("fire.expand1x1", squeezed, 4, 8, 1), relu("fire.expand3x3", squeezed, 4, 8, 3)];
  const scores = relu("classifier", m.node("Concat", expanded, "fire.concat", { axis: 1 }), 16, classes, 1);
  const averaged = m.node("GlobalAveragePool", [scores], "pool2");
  const logits = m.node("Squeeze", [averaged, m.build.ints([2, 3])], "logits");
  return m.build.graph([m.node("Softmax", [logits], "probabilities", { axis: 1 })]);
}

const modelOf = (name: string, opset: number, build: TinyModel["build"], isChannelsLast = false): TinyModel => ({
  name,
  opset,
  build,
  isChannelsLast,
});

export const tinyModels: readonly TinyModel[] = [
  modelOf("MobileNetV2", 9, mobileNetV2),
  modelOf("MobileNetV3", 14, mobileNetV3),
  modelOf("vision transformer with Gelu", 20, (dtype) => visionTransformer(dtype, "operator")),
  modelOf("vision transformer with Erf", 17, (dtype) => visionTransformer(dtype, "composed")),
  modelOf("UNet", 13, uNet),
  modelOf("SqueezeNet, channels last", 9, squeezeNet, true),
];

export const originOf = ({ opset }: TinyModel): OnnxModel["origin"] => ({ ...tinyOrigin, opset });

export interface TinyBatch {
  readonly images: Tensor;
  readonly labels: Tensor;
}

/** Images whose class can be seen: it shifts every fourth pixel. */
export function batchFor({ isChannelsLast }: TinyModel, dtype: DType, count: number, seed = 7): TinyBatch {
  const random = createRandom(seed);
  const labels = Array.from({ length: count }, () => random.integer(0, classes));
  const pixels = labels.flatMap((label) =>
    Array.from({ length: 3 * size * size }, (_, i) => random.normal() + (i % classes === label ? 1 : 0)),
  );
  const shape = isChannelsLast ? [count, size, size, 3] : [count, 3, size, size];
  return { images: tensorOf(dtype, shape, pixels), labels: tensorOf("int64", [count], labels) };
}
