import { TensorProto_DataType } from "onnx-buf";
import { expect, test } from "vitest";
import { optimizedGraph, optimizedNodes } from "../../test/support/optimized-graph.ts";
import { createRandom } from "../../test/support/random.ts";
import { quantizeTiny, tinyBatch, tinyClassifier, tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { inspectModel } from "../inspect/inspect-model.ts";
import { assert } from "../ir/errors.ts";
import { type Graph, producers } from "../ir/graph.ts";
import { sizeOf, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { foldQuantizers } from "../quantizers/fold.ts";
import type { QuantizeOptions } from "../quantizers/quantize-options.ts";
import { dequantizerOf } from "../quantizers/recognize.ts";
import { exportFormats, writeFormat } from "./formats.ts";
import type { Storage } from "./qdq.ts";
import { checkVerification } from "./verify.ts";

/** A MatMul, and a transposed convolution of what it gives. */
function products(): Graph {
  const build = buildOn();
  const random = createRandom(3);
  const weight = (name: string, shape: readonly number[]): string =>
    build.constant(random.tensor("float32", shape), name);
  const x = build.input("input", { dtype: "float32", shape: ["N", 4, 4, 16] });
  const product = build.node("Relu", [build.node("MatMul", [x, weight("matrix", [16, 16])], {}, "product")]);
  const wide = build.node("ConvTranspose", [product, weight("filters", [4, 3, 2, 2])], { strides: [2, 2] }, "wide");
  return build.graph([wide], "products");
}

interface Case {
  readonly graph: Graph;
  readonly input: Tensor;
}

const cases: Readonly<Record<string, Case>> = {
  convolutions: { graph: tinyClassifier("float32"), input: tinyBatch("float32", 4).images },
  products: { graph: products(), input: createRandom(5).tensor("float32", [2, 4, 4, 16]) },
};

const options: readonly (readonly [string, Partial<QuantizeOptions>])[] = [
  ["with zero points", {}],
  ["symmetric", { asymmetricWeights: false }],
  ["in groups", { groupSize: 16 }],
  ["between integers", { placement: "runtime" }],
  ["beside floats", { activations: "float" }],
  ["beside floats, symmetric", { activations: "float", asymmetricWeights: false }],
];

/** Small enough for the nodes that unpack them to count. */
const isSmall = ({ shape }: Tensor): boolean => sizeOf(shape) < 2000;

test.each(
  Object.keys(cases).flatMap((name) =>
    options.flatMap(([form, each]) => [2, 3, 4, 5, 6, 7].map((bits) => [name, bits, form, each] as const)),
  ),
)("weights of %s, %d bits, %s, are stored as asked; ONNX Runtime computes the same of each", async (...given) => {
  const [name, bits, , each] = given;
  const { graph, input } = cases[name];
  const quantized = quantizeTiny(graph, { ...each, weights: bits });
  const folded = foldQuantizers(quantized, each.placement === "runtime" ? "int32" : "float");
  const batches = [new Map([["input", input]])];
  const run = { batches, open: openDeployed, context: { engine: createReferenceEngine(), seed: 0 } };
  const sizes: number[] = [];
  const outputs: number[][] = [];
  for (const storage of ["packed", "int4", "int8"] as const) {
    const source = { folded, origin: tinyOrigin, storage };
    const files = writeFormat("qdq", exportFormats.qdq, source);
    checkVerification(await exportFormats.qdq.verify(source, files, run), undefined);
    const read = readOnnx(files[0].bytes, { name: "written" }).graph;
    for (const layer of folded.layers) {
      const stored = integersOf(read, layer.node);
      expect(stored.dtype, layer.name).toMatch(storage === "int4" && bits <= 4 ? /^u?int4$/ : /^u?int8$/);
      if (storage === "packed") expect(stored.fileBits ?? 8).toBeGreaterThanOrEqual(bits);
      if (storage === "packed" && !isSmall(stored)) expect(stored.fileBits).toBe(bits);
      const numbersIn = (constant: Tensor | undefined) => Array.from(constant?.data ?? [], Number);
      expect(numbersIn(stored)).toEqual(numbersIn(folded.graph.constants.get(layer.integers)));
      expect(numbersIn(zeroPointsOf(read, layer.node))).toEqual(numbersIn(folded.graph.constants.get(layer.zeroPoint)));
    }
    sizes.push(files[0].bytes.length);
    const deployed = await openDeployed(files[0].bytes, { threads: 1 });
    outputs.push([...(await deployed.run(batches[0])).values()].flatMap(({ data }) => Array.from(data, Number)));
    await deployed.dispose();
  }
  const [packed, halves, bytes] = sizes;
  if (bits <= 4) expect(packed).toBeLessThan(bytes);
  else expect(packed).toBeLessThanOrEqual(bytes);
  if (bits <= 4) expect(halves).toBeLessThan(bytes);
  for (const other of outputs.slice(1))
    for (const [i, value] of other.entries()) expect(value).toBeCloseTo(outputs[0][i], 4);
});

/** What the weight of a layer of a file is made of: integers and, where it has any, zero points. */
function storedIn(graph: Graph, node: string): readonly (Tensor | undefined)[] {
  const layer = graph.nodes.find(({ name }) => name === node);
  const dequantize = layer && dequantizerOf(graph, producers(graph), layer.inputs[1]);
  return [0, 2].map((input) => graph.constants.get(dequantize?.inputs[input] ?? ""));
}

function integersOf(graph: Graph, node: string): Tensor {
  const [integers] = storedIn(graph, node);
  assert(integers, `"${node}" has no integers`);
  return integers;
}

/** Those of Gemms are named though they are 0. */
function zeroPointsOf(graph: Graph, node: string): Tensor | undefined {
  const [, zeroPoints] = storedIn(graph, node);
  return zeroPoints && Array.from(zeroPoints.data, Number).every((value) => value === 0) ? undefined : zeroPoints;
}

/** One product of a quantized input whose weight has so many elements that its width pays. */
function wideProduct(): Graph {
  const build = buildOn();
  const weight = build.constant(createRandom(3).tensor("float32", [199, 201]), "matrix");
  const x = build.input("input", { dtype: "float32", shape: ["N", 199] });
  return build.graph([build.node("MatMul", [x, weight], {}, "product")], "wide");
}

test.each([2, 3, 4, 5, 6, 7])(
  "weights of %d bits take as many in the file, and run in integer kernels",
  async (bits) => {
    const exported = (weights: number, storage: Storage): Uint8Array => {
      const quantized = quantizeTiny(wideProduct(), { weights, placement: "runtime" });
      const folded = foldQuantizers(quantized, "int32");
      return writeFormat("qdq", exportFormats.qdq, { folded, origin: tinyOrigin, storage })[0].bytes;
    };
    const bytes = exported(bits, "packed");
    const saved = exported(bits, "int8").length - bytes.length;
    const fewer = (199 * 201 * (8 - bits)) / 8;
    expect(saved).toBeLessThan(fewer);
    expect(saved).toBeGreaterThan(fewer - (bits === 7 ? 1800 : 1200));
    const kernels = (await optimizedNodes(bytes)).map(({ opType }) => opType);
    expect(kernels).toContain("MatMulIntegerToFloat");
    expect(kernels).not.toEqual(expect.arrayContaining([expect.stringMatching(/BitShift|Mod|Cast|Add/)]));
    const { alreadyQuantized } = inspectModel(readOnnx(bytes, { name: "written" }).graph);
    expect(alreadyQuantized).toMatchObject([{ bits, sizeBytes: Math.ceil((199 * 201 * bits) / 8) }]);
  },
);

test.each([8, 5, 4, 2])(
  "weights of %d bits beside activations in float are floats once the file is open",
  async (bits) => {
    for (const name of Object.keys(cases)) {
      const { graph, input } = cases[name];
      const folded = foldQuantizers(quantizeTiny(graph, { weights: bits, activations: "float" }), "float");
      const [{ bytes }] = writeFormat("qdq", exportFormats.qdq, { folded, origin: tinyOrigin, storage: "packed" });
      const float = writeOnnx({ graph, origin: tinyOrigin }, { opset: tinyOrigin.opset });
      const kernelsOf = async (file: Uint8Array) => (await optimizedNodes(file)).map(({ opType }) => opType).sort();
      expect(await kernelsOf(bytes), name).toEqual(await kernelsOf(float));
      const { alreadyQuantized } = inspectModel(readOnnx(bytes, { name: "written" }).graph);
      expect(alreadyQuantized.length, name).toBe(folded.layers.length);
      const reread = readOnnx(bytes, { name: "written" }).graph;
      expect(
        reread.nodes.some(({ op }) => op === "DequantizeLinear"),
        name,
      ).toBe(true);
      expect(input.shape.length).toBeGreaterThan(1);
    }
  },
);

test.each([
  ["conv1", 8],
  ["conv2", 8],
  ["conv2", 3],
] as const)(
  "%s of %d bits computes with floats between layers of integers, as the option says",
  async (layer, bits) => {
    const { graph, input } = cases["convolutions"];
    const options = { placement: "runtime", weights: bits, layers: { [layer]: { activations: "float" } } } as const;
    // ONNX Runtime leaves a Relu out whose quantizer cuts at 0, as calibration's do.
    const cutting = quantizeTiny(graph, options, (qparams, { value }) => {
      const { dtype, shape } = qparams.zeroPoint;
      return value.startsWith("relu") ? { ...qparams, zeroPoint: tensorOf(dtype, shape, [0]) } : qparams;
    });
    const folded = foldQuantizers(cutting, "int32");
    const source = { folded, origin: tinyOrigin, storage: "packed" } as const;
    const files = writeFormat("qdq", exportFormats.qdq, source);
    const run = {
      batches: [new Map([["input", input]])],
      open: openDeployed,
      context: { engine: createReferenceEngine(), seed: 0 },
    };
    checkVerification(await exportFormats.qdq.verify(source, files, run), undefined);
    const { nodes, constants } = await optimizedGraph(files[0].bytes);
    const kernels = nodes.map(({ opType }) => opType);
    expect(kernels.filter((kernel) => kernel === "QLinearConv")).toHaveLength(1);
    expect(kernels.filter((kernel) => /^(Fused)?Conv$/.test(kernel))).toHaveLength(1);
    const ofConstants = nodes.filter(
      ({ opType, input: [first] }) => opType === "DequantizeLinear" && constants.has(first),
    );
    expect(ofConstants).toEqual([]);
    const read = readOnnx(files[0].bytes, { name: "written" }).graph;
    for (const { name, node, bits: width } of folded.layers)
      expect(Math.max(...Array.from(integersOf(read, node).data, Number)), name).toBeLessThan(2 ** width);
    expect(inspectModel(read).alreadyQuantized).toHaveLength(3);
  },
);

/** What a transposed convolution writes is read by a layer of integers. */
function transposed(): Graph {
  const build = buildOn();
  const random = createRandom(11);
  const weight = (name: string, shape: readonly number[]): string => {
    const rows = random.tensor("float32", shape);
    // Rows of very different magnitudes, which one scale for all would spoil.
    const data = toNumbers(rows).map((value, i) => value * 4 ** -(Math.floor(i / 4) % 5));
    return build.constant(tensorOf("float32", shape, data), name);
  };
  const x = build.input("input", { dtype: "float32", shape: ["N", 8, 4, 4] });
  const bias = build.constant(random.tensor("float32", [6]), "bias");
  const wide = build.node("ConvTranspose", [x, weight("filters", [8, 6, 2, 2]), bias], { strides: [2, 2] }, "wide");
  const y = build.node("Conv", [build.node("Relu", [wide]), weight("last", [5, 6, 1, 1])], {}, "last");
  return build.graph([y], "transposed");
}

// ONNX Runtime makes 8 bits with one scale of float weights between quantizers.
test.each([4, 8])("a transposed convolution of %d bits between quantizers keeps its weights", async (weights) => {
  const input = createRandom(12).tensor("float32", [4, 8, 4, 4]);
  const folded = foldQuantizers(quantizeTiny(transposed(), { placement: "runtime", weights }), "int32");
  const source = { folded, origin: tinyOrigin, storage: "packed" } as const;
  const files = writeFormat("qdq", exportFormats.qdq, source);
  const batches = [new Map([["input", input]])];
  const run = { batches, open: openDeployed, context: { engine: createReferenceEngine(), seed: 0 } };
  const { outputs, layers } = await exportFormats.qdq.verify(source, files, run);
  expect(layers.map(({ name, maxSteps }) => [name, maxSteps <= 1])).toEqual([
    ["wide", true],
    ["last", true],
  ]);
  // Roundings that fall the other way alone; 36 dB with one scale.
  expect(outputs[0].sqnrDb).toBeGreaterThan(45);
});

test("a small file whose nodes double what they compute a thousand times is read at once", () => {
  const build = buildOn();
  const bytes = build.constant(tensorOf("uint8", [4, 1], [1, 2, 3, 255]), "bytes");
  const shifts = build.constant(tensorOf("uint8", [1, 4], [0, 2, 4, 6]), "shifts");
  const shifted = build.node("BitShift", [bytes, shifts], { direction: "RIGHT" });
  const input = build.node("Cast", [build.input("input", { dtype: "float32", shape: ["N", 4] })], { to: "int32" });
  let doubled = build.node("Cast", [shifted], { to: "int32" });
  for (let i = 0; i < 1000; i++) doubled = build.node("Add", [doubled, doubled]);
  let sum = build.node("Cast", [shifted], { to: "int32" });
  for (let i = 0; i < 3; i++) sum = build.node("Add", [sum, doubled]);
  const codes = build.node("Cast", [sum], { to: "uint8" });
  const scale = build.constant(tensorOf("float32", [], [0.5]), "scale");
  const weight = build.node("DequantizeLinear", [codes, scale]);
  const graph = build.graph(
    [build.node("MatMul", [build.node("Cast", [input], { to: "float32" }), weight])],
    "doubled",
  );
  const { constants } = readOnnx(writeOnnx({ graph, origin: tinyOrigin }, { opset: 21 }), { name: "doubled" }).graph;
  expect([...constants.values()].every(({ fileBits }) => fileBits === undefined)).toBe(true);
});

test("bytes that other nodes unpack otherwise stay what they are", () => {
  const build = buildOn();
  const bytes = build.constant(tensorOf("uint8", [4, 1], [1, 2, 3, 255]), "bytes");
  const shifts = build.constant(tensorOf("uint8", [1, 4], [0, 2, 4, 6]), "shifts");
  const shifted = build.node("BitShift", [bytes, shifts], { direction: "RIGHT" });
  const codes = build.node("Mod", [shifted, build.constant(tensorOf("uint8", [], [3]), "modulus")]);
  const matrix = build.node("Reshape", [codes, build.ints([4, 4])]);
  const scale = build.constant(tensorOf("float32", [], [0.5]), "scale");
  const x = build.input("input", { dtype: "float32", shape: ["N", 4] });
  const graph = build.graph([build.node("MatMul", [x, build.node("DequantizeLinear", [matrix, scale])])], "modulo 3");
  const read = readOnnx(writeOnnx({ graph, origin: tinyOrigin }, { opset: 21 }), { name: "modulo 3" }).graph;
  const [codesRead] = [...read.constants.values()].filter(({ dtype }) => dtype === "uint8");
  expect(codesRead.fileBits).toBeUndefined();
  expect(Array.from(codesRead.data, Number)).toEqual([1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
});

test.each(["packed", "int8"] as const)(
  "weights with zero points, stored %s, are int8 around zero in the kernels",
  async (storage) => {
    const quantized = quantizeTiny(tinyClassifier("float32"), { weights: 3, placement: "runtime" });
    const folded = foldQuantizers(quantized, "int32");
    expect(folded.layers.every(({ zeroPoint }) => zeroPoint !== "")).toBe(true);
    const [{ bytes }] = writeFormat("qdq", exportFormats.qdq, { folded, origin: tinyOrigin, storage });
    const { nodes, constants } = await optimizedGraph(bytes);
    const convolutions = nodes.filter(({ opType }) => opType === "QLinearConv");
    expect(convolutions.length).toBeGreaterThan(0);
    for (const { input } of convolutions) {
      expect(constants.get(input[3])?.dataType).toBe(TensorProto_DataType.INT8);
      const { rawData, int32Data } = constants.get(input[5]) ?? {};
      expect([...(rawData ?? []), ...(int32Data ?? [])].every((zero) => zero === 0)).toBe(true);
    }
    expect(nodes.map(({ opType }) => opType)).not.toContain("Sub");
  },
);
