// Operators that are decomposed when read: ONNX Runtime runs the original node, the engines and the written file run its decomposition.
import type { NodeProto } from "onnx-buf";
import { describe, expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { castTensor, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { dtypeCode } from "../../src/onnx/data-types.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { castFloats } from "../../src/passes/cast-floats.ts";
import { type CloseOptions, expectClose } from "../support/close.ts";
import { expectGradients } from "../support/graph-gradients.ts";
import { isNativeBuilt } from "../support/native.ts";
import { float, int, ints, modelBytes, node, text, untyped, value } from "../support/onnx-model.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { runModel } from "../support/run-model.ts";

interface FunctionCase {
  readonly name: string;
  readonly opset: number;
  readonly op: string;
  readonly attributes?: Parameters<typeof node>[3];
  /** `undefined`: left out. */
  readonly inputs: readonly (Tensor | undefined)[];
  /** Names of the outputs, "" for one that is not asked for. */
  readonly outputs?: readonly string[];
  /** The oldest opset that has all that the operator is made of. */
  readonly oldest?: number;
}

const random = createRandom(41);
const normal = (...shape: number[]): Tensor => random.tensor("float32", shape);
const positive = (...shape: number[]): Tensor => random.uniformTensor("float32", shape, 0.5, 2);
const bytes = (dtype: "uint8" | "int8", ...shape: number[]): Tensor =>
  random.integerTensor(dtype, shape, dtype === "int8" ? -128 : 0, dtype === "int8" ? 127 : 255);
const scale = (...values: number[]): Tensor => tensorOf("float32", values.length === 1 ? [] : [values.length], values);
const zero = (dtype: "uint8" | "int8", ...values: number[]): Tensor =>
  tensorOf(dtype, values.length === 1 ? [] : [values.length], values);
const equation = (formula: string): FunctionCase["attributes"] => ({ equation: text(formula) });

const simple: readonly FunctionCase[] = [
  {
    name: "DynamicQuantizeLinear of zeros",
    opset: 17,
    op: "DynamicQuantizeLinear",
    inputs: [tensorOf("float32", [2, 3], new Array(6).fill(0))],
    outputs: ["y", "scale", "zero"],
    oldest: 13,
  },
  {
    name: "DynamicQuantizeLinear of values on both sides of 0",
    opset: 17,
    op: "DynamicQuantizeLinear",
    inputs: [normal(2, 3)],
    outputs: ["y", "scale", "zero"],
    oldest: 13,
  },
  {
    name: "DynamicQuantizeLinear of values below 0",
    opset: 17,
    op: "DynamicQuantizeLinear",
    inputs: [tensorOf("float32", [3], [-1, -2, -0.5])],
    outputs: ["y", "scale", "zero"],
    oldest: 13,
  },
  {
    name: "DynamicQuantizeLinear of one value above 0",
    opset: 17,
    op: "DynamicQuantizeLinear",
    inputs: [tensorOf("float32", [1], [3])],
    outputs: ["y", "scale", "zero"],
    oldest: 13,
  },
  { name: "Swish", opset: 24, op: "Swish", inputs: [normal(2, 3)], oldest: 7 },
  {
    name: "Swish of alpha 0.5",
    opset: 24,
    op: "Swish",
    attributes: { alpha: float(0.5) },
    inputs: [normal(5)],
    oldest: 7,
  },
  {
    name: "ReduceLogSum 13",
    opset: 13,
    op: "ReduceLogSum",
    attributes: { axes: ints([1]) },
    inputs: [positive(2, 3, 4)],
    oldest: 7,
  },
  {
    name: "LpNormalization",
    opset: 22,
    op: "LpNormalization",
    attributes: { axis: int(1) },
    inputs: [normal(2, 3, 4)],
    oldest: 8,
  },
  {
    name: "LpNormalization of p 1",
    opset: 22,
    op: "LpNormalization",
    attributes: { p: int(1) },
    inputs: [normal(2, 3)],
    oldest: 8,
  },
  {
    name: "MeanVarianceNormalization",
    opset: 13,
    op: "MeanVarianceNormalization",
    inputs: [normal(2, 3, 4, 4)],
    oldest: 7,
  },
  {
    name: "LRN",
    opset: 13,
    op: "LRN",
    attributes: { size: int(3), alpha: float(0.5), beta: float(0.6), bias: float(1.5) },
    inputs: [normal(2, 7, 3, 4)],
    oldest: 7,
  },
  {
    name: "LpPool",
    opset: 18,
    op: "LpPool",
    attributes: { kernel_shape: ints([2, 3]), strides: ints([2, 1]), pads: ints([1, 0, 1, 2]) },
    inputs: [normal(1, 2, 5, 6)],
    oldest: 8,
  },
  {
    name: "LpPool of p 3",
    opset: 18,
    op: "LpPool",
    attributes: { kernel_shape: ints([2]), p: int(3) },
    inputs: [normal(1, 2, 5)],
    oldest: 8,
  },
  {
    name: "LpPool whose last windows end beyond its pads",
    opset: 22,
    op: "LpPool",
    attributes: { kernel_shape: ints([3, 3]), strides: ints([2, 2]), pads: ints([0, 1, 0, 0]), ceil_mode: int(1) },
    inputs: [normal(1, 2, 6, 7)],
    oldest: 8,
  },
  {
    name: "LpPool whose last windows would start beyond the image",
    opset: 22,
    op: "LpPool",
    attributes: { kernel_shape: ints([2]), strides: ints([3]), pads: ints([0, 1]), ceil_mode: int(1), p: int(1) },
    inputs: [normal(1, 2, 6)],
    oldest: 8,
  },
  { name: "GlobalLpPool", opset: 18, op: "GlobalLpPool", inputs: [normal(2, 3, 4, 5)], oldest: 7 },
  { name: "Hardmax", opset: 13, op: "Hardmax", attributes: { axis: int(1) }, inputs: [normal(2, 3, 4)], oldest: 9 },
  { name: "CastLike", opset: 19, op: "CastLike", inputs: [normal(2, 3), bytes("int8", 1)], oldest: 7 },
  {
    name: "GroupNormalization 18, whose parameters are per group",
    opset: 18,
    op: "GroupNormalization",
    attributes: { num_groups: int(2), epsilon: float(1e-3) },
    inputs: [normal(2, 6, 3, 2), normal(2), normal(2)],
    oldest: 7,
  },
];

const products: readonly FunctionCase[] = [
  ["bsh,hd->bsd", [2, 3, 4], [4, 5]],
  ["bsh,dh->bsd", [2, 3, 4], [5, 4]],
  ["bhqd,bhkd->bhqk", [2, 2, 3, 4], [2, 2, 5, 4]],
  ["bhqk,bkhd->bqhd", [2, 3, 4, 5], [2, 5, 3, 6]],
  ["...ij,...jk->...ik", [2, 5, 3, 4], [2, 5, 4, 6]],
  ["...ij,jk->...ik", [2, 5, 3, 4], [4, 6]],
  ["...j,kj", [2, 3, 4], [5, 4]],
  ["...ij->...ji", [2, 3, 4]],
  ["b...,b...->b...", [2, 3, 4], [2, 3, 4]],
  ["i...->...", [2, 3, 4]],
].map(([formula, ...shapes]) => ({
  name: `Einsum ${formula}`,
  opset: 12,
  op: "Einsum",
  attributes: equation(String(formula)),
  inputs: shapes.map((shape) => normal(...(shape as number[]))),
}));

const caches = (positions: number, half: number) => [normal(positions, half), normal(positions, half)];
const positions = tensorOf("int64", [2, 3], [0, 1, 2, 5, 6, 4]);

const rotary: readonly FunctionCase[] = [
  { name: "of 4 axes", inputs: [normal(2, 4, 3, 8), ...caches(7, 4), positions] },
  { name: "of 3 axes", attributes: { num_heads: int(4) }, inputs: [normal(2, 3, 32), ...caches(7, 4), positions] },
  { name: "without positions", inputs: [normal(2, 4, 3, 8), normal(2, 3, 4), normal(2, 3, 4)] },
  {
    name: "interleaved",
    attributes: { interleaved: int(1) },
    inputs: [normal(2, 4, 3, 8), ...caches(7, 4), positions],
  },
  {
    name: "of some features",
    attributes: { rotary_embedding_dim: int(4), num_heads: int(2) },
    inputs: [normal(2, 3, 16), ...caches(7, 2), positions],
  },
  {
    name: "of some features, interleaved",
    attributes: { rotary_embedding_dim: int(4), interleaved: int(1) },
    inputs: [normal(2, 4, 3, 8), ...caches(7, 2), positions],
  },
].map((each) => ({ ...each, name: `RotaryEmbedding ${each.name}`, op: "RotaryEmbedding", opset: 23, oldest: 7 }));

const heads = (sequence: number, features = 8, count = 4): Tensor => normal(2, count, sequence, features);
const mask = tensorOf("bool", [3, 5], [1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1]);

const none = [undefined, undefined, undefined];
const lengths = tensorOf("int64", [2], [4, 5]);

const attentions: readonly FunctionCase[] = [
  { name: "of 4 axes", inputs: [heads(3), heads(5), heads(5, 6)] },
  {
    name: "of 3 axes, with a scale",
    attributes: { q_num_heads: int(4), kv_num_heads: int(4), scale: float(0.3) },
    inputs: [normal(2, 3, 32), normal(2, 5, 32), normal(2, 5, 24)],
  },
  { name: "with fewer heads of keys", inputs: [heads(3), heads(5, 8, 2), heads(5, 6, 2)] },
  {
    name: "with fewer heads of keys, of 3 axes",
    attributes: { q_num_heads: int(6), kv_num_heads: int(2) },
    inputs: [normal(2, 3, 24), normal(2, 5, 8), normal(2, 5, 8)],
  },
  { name: "causal", attributes: { is_causal: int(1) }, inputs: [heads(5), heads(5), heads(5)] },
  { name: "causal with more keys", attributes: { is_causal: int(1) }, inputs: [heads(3), heads(5), heads(5)] },
  { name: "with a mask of booleans", inputs: [heads(3), heads(5), heads(5), mask] },
  { name: "with a mask of numbers", inputs: [heads(3), heads(5), heads(5), normal(2, 1, 3, 5)] },
  {
    name: "causal with a mask of booleans",
    attributes: { is_causal: int(1) },
    inputs: [heads(3), heads(5), heads(5), mask],
  },
  {
    name: "causal with a mask of numbers",
    attributes: { is_causal: int(1) },
    inputs: [heads(3), heads(5), heads(5), normal(3, 5)],
  },
  {
    name: "with a mask of booleans and a past",
    inputs: [heads(3), heads(3), heads(3), mask, heads(2), heads(2)],
    outputs: ["y", "present_key", "present_value"],
  },
  { name: "with lengths", inputs: [heads(3), heads(5), heads(5, 6), ...none, lengths] },
  {
    name: "with lengths, of 3 axes, with fewer heads of keys",
    attributes: { q_num_heads: int(6), kv_num_heads: int(2) },
    inputs: [normal(2, 3, 24), normal(2, 5, 8), normal(2, 5, 8), ...none, lengths],
  },
  {
    name: "with lengths and a mask of booleans",
    inputs: [heads(3), heads(5), heads(5), mask, undefined, undefined, lengths],
  },
  {
    name: "with lengths and a mask of numbers",
    inputs: [heads(3), heads(5), heads(5), normal(2, 1, 3, 5), undefined, undefined, lengths],
  },
  {
    name: "causal with lengths",
    attributes: { is_causal: int(1) },
    inputs: [heads(5), heads(5), heads(5), ...none, lengths],
  },
  {
    name: "causal with lengths beside fewer queries",
    attributes: { is_causal: int(1) },
    inputs: [heads(3), heads(5), heads(5), ...none, lengths],
  },
  {
    name: "with a mask of booleans that hides all keys from a query",
    inputs: [heads(3), heads(5), heads(5), tensorOf("bool", [3, 5], [1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1])],
  },
  {
    name: "with a length of 0",
    inputs: [heads(3), heads(5), heads(5), ...none, tensorOf("int64", [2], [0, 5])],
  },
  { name: "with softcap", attributes: { softcap: float(2) }, inputs: [heads(3), heads(5), heads(5)] },
  {
    name: "with a past",
    inputs: [heads(3), heads(5), heads(5), undefined, heads(2), heads(2)],
    outputs: ["y", "present_key", "present_value"],
  },
  {
    name: "causal with a past",
    attributes: { is_causal: int(1) },
    inputs: [heads(3), heads(3), heads(3), undefined, heads(2), heads(2)],
    outputs: ["y", "present_key", "present_value"],
  },
  ...[0, 1, 2, 3].map((mode) => ({
    name: `that shows its scores in mode ${mode}`,
    attributes: { qk_matmul_output_mode: int(mode), softcap: float(3) },
    inputs: [heads(3), heads(5), heads(5), normal(3, 5)],
    outputs: ["y", "", "", "scores"],
  })),
].map((each) => ({ ...each, name: `Attention ${each.name}`, op: "Attention", opset: 24, oldest: 13 }));

const quantized: readonly FunctionCase[] = [
  {
    name: "QLinearConv with scales per channel and a bias",
    op: "QLinearConv",
    attributes: { pads: ints([1, 1, 1, 1]) },
    inputs: [
      bytes("uint8", 1, 3, 5, 5),
      scale(0.02),
      zero("uint8", 120),
      bytes("int8", 2, 3, 3, 3),
      scale(0.01, 0.02),
      zero("int8", 0, 0),
      scale(0.3),
      zero("uint8", 100),
      tensorOf("int32", [2], [500, -900]),
    ],
  },
  {
    name: "QLinearConv with one scale",
    op: "QLinearConv",
    inputs: [
      bytes("uint8", 1, 2, 4, 4),
      scale(0.02),
      zero("uint8", 3),
      bytes("uint8", 3, 2, 3, 3),
      scale(0.01),
      zero("uint8", 128),
      scale(0.05),
      zero("uint8", 100),
    ],
  },
  {
    name: "QLinearMatMul",
    op: "QLinearMatMul",
    inputs: [
      bytes("uint8", 2, 3, 4),
      scale(0.02),
      zero("uint8", 120),
      bytes("int8", 4, 5),
      scale(0.02),
      zero("int8", 0),
      scale(0.1),
      zero("uint8", 90),
    ],
  },
].map((each) => ({ ...each, opset: 13 }));

const engine = createReferenceEngine();
const others = [createOnnxRuntimeEngine(), ...(isNativeBuilt ? [createNativeEngine()] : [])];
const newest = 24;
const accuracy: CloseOptions = { widen: { factor: 8, because: "another order of float32 operations" } };

function bytesOf({ op, opset, attributes = {}, inputs, outputs = ["y"] }: FunctionCase): Uint8Array<ArrayBuffer> {
  const given = inputs.flatMap((input, i) => (input ? [value(`x${i}`, input.shape, dtypeCode(input.dtype))] : []));
  const nodes: readonly NodeProto[] = [
    node(
      op,
      inputs.map((input, i) => (input ? `x${i}` : "")),
      outputs,
      attributes,
    ),
  ];
  return modelBytes({ nodes, opset, inputs: given, outputs: outputs.filter((name) => name !== "").map(untyped) });
}

describe("operators read as functions compute what ONNX Runtime does", () => {
  test.each([...simple, ...products, ...rotary, ...attentions, ...quantized].map((each) => [each.name, each] as const))(
    "%s",
    async (_name, given) => {
      const bytes = bytesOf(given);
      const inputs = new Map(given.inputs.flatMap((input, i) => (input ? [[`x${i}`, input] as const] : [])));
      const expected = await runModel(bytes, inputs);
      const model = readOnnx(bytes, { name: "function.onnx" });
      const runs = [
        await runGraph(engine, model.graph, inputs),
        await runModel(writeOnnx(model, { opset: newest }), inputs),
        await runModel(writeOnnx(model, { opset: given.oldest ?? given.opset }), inputs),
      ];
      for (const actual of runs)
        for (const [name, wanted] of expected)
          expectClose(actual.get(name) as Tensor, wanted, { what: name, ...accuracy });
    },
  );
});

const pools = simple.filter(({ op }) => op === "LpPool");

describe("attention and LpPool", () => {
  const given = [...attentions, ...pools].map((each) => [each.name, each] as const);
  const graphOf = (each: FunctionCase): Graph => readOnnx(bytesOf(each), { name: "function.onnx" }).graph;
  const inputsOf = (each: FunctionCase): ReadonlyMap<string, Tensor> =>
    new Map(each.inputs.flatMap((input, i) => (input ? [[`x${i}`, input] as const] : [])));

  test.each(given)("%s: on all engines", async (_name, each) => {
    const expected = await runModel(bytesOf(each), inputsOf(each));
    for (const other of others)
      for (const [name, actual] of await runGraph(other, graphOf(each), inputsOf(each)))
        expectClose(actual, expected.get(name) as Tensor, { what: `${other.name}: ${name}`, ...accuracy });
  });

  test.each(given)("%s: its gradients agree with finite differences", async (_name, each) => {
    const float = castFloats(graphOf(each), "float64");
    const isFloat = (name: string): boolean => float.values.get(name)?.dtype === "float64";
    const inputs = new Map(
      [...inputsOf(each)].map(([name, value]) => [name, isFloat(name) ? castTensor(value, "float64") : value]),
    );
    const build = buildOn(float);
    const losses = float.outputs.map((output) => {
      const shape = build.type(output).shape.map(Number);
      const weighed = build.node("Mul", [output, build.constant(random.tensor("float64", shape))]);
      return build.node("ReduceSum", [weighed], { keepdims: 0 });
    });
    const loss = losses.reduce((sum, one) => build.node("Add", [sum, one]));
    const wanted = [...inputs.keys()].filter(isFloat);
    const made = gradient(build.graph([loss]), loss, new Map(wanted.map((name) => [name, "all"])));
    expect([...made.gradients.keys()]).toEqual(wanted);
    await expectGradients({ ...made, loss, inputs });
  });
});
