// Operators that ONNX Runtime's optimizations write: what is read of them computes what ONNX Runtime computes.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, type NodeProto, type ValueInfoProto } from "onnx-buf";
import { InferenceSession } from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { ValueType } from "../../src/ir/graph.ts";
import { sizeOf, type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { contribSchemas } from "../../src/onnx/upgrade/contrib.ts";
import { expectClose } from "../support/close.ts";
import {
  type Attributes,
  DataType,
  float,
  floats,
  int,
  ints,
  modelProto,
  node,
  tensorProto,
  text,
  value,
  weights,
} from "../support/onnx-model.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { runModel } from "../support/run-model.ts";

const random = createRandom(9);
const reference = createReferenceEngine();

/** Bytes where the name says so, else floats. */
const randomWeights = (name: string, dims: readonly number[]) =>
  name.startsWith("bytes")
    ? tensorProto({
        name,
        dims: dims.map(BigInt),
        dataType: DataType.UINT8,
        rawData: Uint8Array.from({ length: sizeOf(dims) }, () => random.integer(0, 255)),
      })
    : weights(name, dims, toNumbers(random.tensor("float32", dims)));

interface Given {
  readonly op: string;
  readonly domain?: string;
  /** By name, the shapes of what the node reads: constants, but for x and what `integers` names. */
  readonly inputs: readonly (readonly [name: string, dims: readonly number[]] | "")[];
  readonly attributes?: Attributes;
  readonly outputs?: readonly string[];
  /** Inputs of int32, below a bound. */
  readonly integers?: Readonly<Record<string, number>>;
}

function bytesOf({ op, domain = "com.microsoft", inputs, attributes = {}, outputs = ["y"], integers = {} }: Given) {
  const named = inputs.filter((input) => input !== "");
  const isFed = (name: string): boolean => name === "x" || name in integers;
  const fed: ValueInfoProto[] = named
    .filter(([name]) => isFed(name))
    .map(([name, dims]) => value(name, dims, name in integers ? DataType.INT32 : DataType.FLOAT));
  const nodes: NodeProto[] = [
    node(
      op,
      inputs.map((input) => (input === "" ? "" : input[0])),
      outputs,
      attributes,
      { name: "fused", domain },
    ),
  ];
  const model = modelProto({
    nodes,
    inputs: fed,
    outputs: outputs.filter((name) => name !== "").map((name) => value(name, [])),
    initializers: named.filter(([name]) => !isFed(name)).map(([name, dims]) => randomWeights(name, dims)),
  });
  for (const output of model.graph?.output ?? [])
    if (output.type?.value.case === "tensorType") delete output.type.value.value.shape;
  model.opsetImport.push({ $typeName: "onnx.OperatorSetIdProto", domain: "com.microsoft", version: 1n });
  return toBinary(ModelProtoSchema, model);
}

const feedOf = (name: string, { dtype, shape }: ValueType, bound: number): Tensor => {
  const dims = shape.map((size) => (typeof size === "number" ? size : 2));
  if (dtype === "float32") return random.tensor("float32", dims);
  const count = dims.reduce((product, size) => product * size, 1);
  return tensorOf(
    dtype,
    dims,
    Array.from({ length: count }, () =>
      name.includes("length") ? 1 + random.integer(0, bound - 1) : random.integer(0, bound),
    ),
  );
};

async function expectSame(bytes: Uint8Array, bounds: Readonly<Record<string, number>> = {}): Promise<void> {
  const { graph } = readOnnx(bytes, { name: "m" });
  const inputs = new Map(
    graph.inputs.map((name) => [name, feedOf(name, graph.values.get(name) as ValueType, bounds[name] ?? 2)]),
  );
  const expected = await runModel(bytes, inputs);
  const actual = await runGraph(reference, graph, inputs);
  for (const output of graph.outputs)
    expectClose(actual.get(output) as Tensor, expected.get(output) as Tensor, { what: output });
}

const x = ["x", [2, 3, 6, 6]] as const;
const conv = [x, ["w", [4, 3, 3, 3]], ["b", [4]]] as const;
const tokens = ["x", [2, 5, 8]] as const;
const norm = [
  ["gamma", [8]],
  ["beta", [8]],
] as const;
const attention = [tokens, ["w", [8, 24]], ["b", [24]]] as const;
const same = { pads: ints([1, 1, 1, 1]) };
const matrices = [
  ["x", [2, 3, 4]],
  ["b", [4, 5]],
] as const;

const cases: readonly Given[] = [
  ...["Relu", "Tanh", "Sigmoid"].map((name) => ({
    op: "FusedConv",
    inputs: conv,
    attributes: { activation: text(name) },
  })),
  {
    op: "FusedConv",
    inputs: conv,
    attributes: { ...same, activation: text("LeakyRelu"), activation_params: floats([0.1]) },
  },
  {
    op: "FusedConv",
    inputs: conv.slice(0, 2),
    attributes: { strides: ints([2, 2]), activation: text("Clip"), activation_params: floats([-0.5, 0.75]) },
  },
  {
    op: "FusedConv",
    inputs: conv,
    attributes: { activation: text("HardSigmoid"), activation_params: floats([0.3, 0.4]) },
  },
  { op: "FusedConv", inputs: [...conv, ["z", [2, 4, 6, 6]]], attributes: { ...same, activation: text("Relu") } },
  {
    op: "FusedGemm",
    inputs: [
      ["x", [3, 4]],
      ["w", [5, 4]],
      ["c", [5]],
    ],
    attributes: { transB: int(1), alpha: float(0.5), activation: text("LeakyRelu"), activation_alpha: float(0.2) },
  },
  { op: "FusedMatMul", inputs: matrices, attributes: { alpha: float(0.25) } },
  {
    op: "FusedMatMul",
    inputs: [
      ["x", [2, 4, 3]],
      ["b", [2, 5, 4]],
    ],
    attributes: { transA: int(1), transB: int(1) },
  },
  {
    op: "TransposeMatMul",
    inputs: [
      ["x", [2, 3, 4]],
      ["b", [5, 4]],
    ],
    attributes: { transB: int(1) },
  },
  { op: "Gelu", inputs: [tokens] },
  { op: "BiasGelu", inputs: [tokens, ["b", [8]]] },
  { op: "FastGelu", inputs: [tokens] },
  { op: "FastGelu", inputs: [tokens, ["b", [8]]] },
  { op: "QuickGelu", inputs: [tokens] },
  { op: "QuickGelu", inputs: [tokens], attributes: { alpha: float(1) } },
  { op: "SkipLayerNormalization", inputs: [tokens, ["skip", [2, 5, 8]], ...norm] },
  {
    op: "SkipLayerNormalization",
    inputs: [tokens, ["skip", [2, 5, 8]], ...norm, ["bias", [8]]],
    outputs: ["y", "", "", "sum"],
    attributes: { epsilon: float(0.01) },
  },
  {
    op: "SkipSimplifiedLayerNormalization",
    inputs: [tokens, ["skip", [2, 5, 8]], ["gamma", [8]]],
    outputs: ["y", "", "", "sum"],
    attributes: { epsilon: float(1e-5) },
  },
  { op: "SimplifiedLayerNormalization", domain: "", inputs: [tokens, ["gamma", [8]]] },
  {
    op: "EmbedLayerNormalization",
    inputs: [
      ["ids", [2, 5]],
      ["segments", [2, 5]],
      ["words", [11, 8]],
      ["positions", [6, 8]],
      ["types", [2, 8]],
      ...norm,
    ],
    integers: { ids: 11, segments: 2 },
    outputs: ["y", ""],
  },
  {
    op: "EmbedLayerNormalization",
    inputs: [["ids", [2, 5]], "", ["words", [11, 8]], ["positions", [6, 8]], "", ...norm],
    integers: { ids: 11 },
    outputs: ["y", "", "sum"],
  },
  { op: "Attention", inputs: attention, attributes: { num_heads: int(2) } },
  { op: "Attention", inputs: attention, attributes: { num_heads: int(2), scale: float(0.3) } },
  ...(
    [
      ["mask", [2, 5]],
      ["mask3", [2, 5, 5]],
      ["length", [2]],
    ] as const
  ).map((mask) => ({
    op: "Attention",
    inputs: [...attention, mask],
    attributes: { num_heads: int(2) },
    integers: { [mask[0]]: mask[0] === "length" ? 5 : 2 },
  })),
];

/** 40 inputs in groups of 16, the last of 8, to 6 rows. */
const inGroups = (bits: number, ...more: Given["inputs"]): Given => ({
  op: "MatMulNBits",
  inputs: [["x", [2, 40]], ["bytes", [6, 3, 2 * bits]], ["scales", [6, 3]], ...more],
  attributes: { K: int(40), N: int(6), bits: int(bits), block_size: int(16) },
});

describe("each gives what ONNX Runtime gives", () => {
  test.each(cases.map((given, i) => [`${i} ${given.op}`, given] as const))("%s", async (_, given) => {
    await expectSame(bytesOf(given), given.integers);
  });
  test.each([2, 4, 8])("MatMulNBits of %d bits", async (bits) => {
    const points = ["bytes_of_points", [6, Math.ceil((3 * bits) / 8)]] as const;
    await expectSame(bytesOf(inGroups(bits)));
    await expectSame(bytesOf(inGroups(bits, points)));
    await expectSame(bytesOf(inGroups(bits, points, "", ["bias", [6]])));
  });
  test("every operator that is read is among them, but for quantizers", () => {
    const read = Object.keys(contribSchemas).map((op) => op.replace("com.microsoft::", ""));
    const tried = new Set([...cases.map(({ op }) => op), "MatMulNBits", "QuantizeLinear", "DequantizeLinear"]);
    expect(read.filter((op) => !tried.has(op))).toEqual([]);
  });
});

describe("forms without a standard meaning are refused", () => {
  test.each<readonly [Given, RegExp]>([
    [
      { op: "FusedConv", inputs: conv, attributes: { activation: text("Erf") } },
      /activation is "Erf", which is not handled/,
    ],
    [
      { op: "FusedMatMul", inputs: matrices, attributes: { transBatchA: int(1) } },
      /FusedMatMul .* transBatchA is not handled/,
    ],
    [
      { op: "Attention", inputs: attention, attributes: { num_heads: int(2), unidirectional: int(1) } },
      /unidirectional is not handled/,
    ],
    [inGroups(3), /bits is 3; 2, 4 and 8 are handled/],
    [inGroups(4, "", ["bytes_of_order", [40]]), /reorders inputs \(g_idx\)/],
    [inGroups(4, ["points", [6, 3]]), /"points" has 18 elements of type float32; 12 of type uint8 are handled/],
    [{ op: "Attention", inputs: attention }, /attribute "num_heads" is missing/],
    [
      { op: "Gelu", inputs: [tokens], attributes: { approximate: text("tanh") } },
      /com.microsoft::Gelu .*"approximate"; in opset \d+ expected none/,
    ],
    [
      { op: "MultiHeadAttention", inputs: [tokens] },
      /MultiHeadAttention .* ONNX Runtime alone.*: give the file from before optimization/,
    ],
  ])("%#", (given, message) => {
    expect(() => readOnnx(bytesOf(given), { name: "m" })).toThrow(message);
  });
});

const models = join(import.meta.dirname, "../oracles/torch-models");
let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frostbit-optimized-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("networks from PyTorch that ONNX Runtime has optimized", () => {
  test.each(readdirSync(models).filter((name) => name.endsWith(".onnx")))("%s", async (name) => {
    const path = join(folder, name);
    const session = await InferenceSession.create(join(models, name), {
      graphOptimizationLevel: "extended",
      optimizedModelFilePath: path,
      logSeverityLevel: 3,
    });
    await session.release();
    const bytes = new Uint8Array(readFileSync(path));
    expect(fromBinary(ModelProtoSchema, bytes).graph?.node.length).toBeGreaterThan(0);
    await expectSame(bytes, Object.fromEntries(session.inputNames.map((input) => [input, 20])));
  });
});
