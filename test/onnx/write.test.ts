import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { ModelProtoSchema, type NodeProto } from "onnx-buf";
import { describe, expect, test } from "vitest";
import { type DType, dtypes } from "../../src/ir/dtype.ts";
import type { OnnxModel } from "../../src/ir/graph.ts";
import { allocate, sizeOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { readModel } from "../../src/node/read-model.ts";
import { decodeAttribute } from "../../src/onnx/decode-attribute.ts";
import { decodeTensor } from "../../src/onnx/decode-tensor.ts";
import { encodeAttribute } from "../../src/onnx/encode-attribute.ts";
import { encodeTensor } from "../../src/onnx/encode-tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { opsetFor, writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { expectClose } from "../support/close.ts";
import {
  float,
  int,
  ints,
  modelBytes,
  modelProto,
  node,
  tensorProto,
  untyped,
  value,
  weights,
} from "../support/onnx-model.ts";
import { createRandom } from "../support/random.ts";
import { runModel } from "../support/run-model.ts";

const origin = {
  opset: 17,
  irVersion: 8,
  producerName: "p",
  producerVersion: "1",
  domain: "",
  modelVersion: 0n,
  docString: "",
  metadata: new Map(),
};

const refuseExternal = (what: string): never => expect.fail(what);

/** Random bits of the type's width: every pattern must survive. */
function randomTensor(dtype: DType, shape: readonly number[], seed: number): Tensor {
  const random = createRandom(seed);
  const data = allocate(dtype, sizeOf(shape));
  const bits = Math.min(dtypes[dtype].bits, 31);
  const isSigned = /^int/.test(dtype);
  for (let i = 0; i < data.length; i++) {
    const pattern = random.integer(isSigned ? -(2 ** (bits - 1)) : 0, isSigned ? 2 ** (bits - 1) : 2 ** bits);
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[i] = BigInt(pattern) * 1_000_003n;
    else data[i] = dtype.startsWith("float") && bits === 31 ? random.normal() : pattern;
  }
  return { dtype, shape, data };
}

test("attributes that ONNX does not know keep their fractions", () => {
  for (const value of [0.5, [1, 0.25]]) {
    const proto = encodeAttribute("unknown", value);
    expect(decodeAttribute(proto, { where: "Relu", external: undefined, unsupported: refuseExternal })).toEqual(value);
  }
});

test("a tensor of any type and shape that is written and read is the same tensor", async () => {
  const dtype = fc.constantFrom(...(Object.keys(dtypes) as DType[]));
  const shape = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 });
  await fc.assert(
    fc.property(dtype, shape, fc.integer({ min: 0, max: 1e6 }), (type, sizes, seed) => {
      const tensor = randomTensor(type, sizes, seed);
      const again = decodeTensor(encodeTensor("t", tensor), "t", { external: undefined, unsupported: refuseExternal });
      expect(again).toEqual(tensor);
    }),
    { seed: 1 },
  );
});

const layers: readonly ((input: string, output: string) => NodeProto)[] = [
  (x, y) => node("Conv", [x, "w"], [y], { pads: ints([1, 1, 1, 1]), strides: ints([1, 1]) }),
  (x, y) => node("LeakyRelu", [x], [y], { alpha: float(0.1) }),
  (x, y) => node("Clip", [x, "low", "high"], [y]),
  (x, y) => node("Add", [x, x], [y]),
  (x, y) => node("Transpose", [x], [y], { perm: ints([0, 1, 3, 2]) }),
  (x, y) => node("Softmax", [x], [y], { axis: int(-1) }),
  (x, y) => node("MaxPool", [x], [y], { kernel_shape: ints([3, 3]), pads: ints([1, 1, 1, 1]) }),
];

test("a graph that is read, written in any opset that can express it and read again is the same graph", async () => {
  const chain = fc.array(fc.constantFrom(...layers), { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.property(chain, fc.integer({ min: 13, max: 25 }), (parts, opset) => {
      const nodes = parts.map((layer, i) => layer(i === 0 ? "x" : `v${i}`, i === parts.length - 1 ? "y" : `v${i + 1}`));
      const initializers = [weights("w", [2, 2, 3, 3]), weights("low", [], [-1]), weights("high", [], [1])];
      const { graph, origin: from } = readOnnx(modelBytes({ nodes, initializers, opset: 13 }), { name: "m" });
      const again = readOnnx(writeOnnx({ graph, origin: from }, { opset }), { name: "m" });
      expect(again.graph).toEqual(graph);
    }),
    { seed: 1 },
  );
});

test("4-bit elements are packed two per byte, the first in the low nibble", () => {
  expect([...encodeTensor("t", tensorOf("int4", [3], [1, -2, -8])).rawData]).toEqual([0xe1, 0x08]);
  expect([...encodeTensor("t", tensorOf("uint4", [3], [1, 14, 15])).rawData]).toEqual([0xe1, 0x0f]);
});

test("2-bit elements are packed four per byte, the first in the lowest bits", () => {
  expect([...encodeTensor("t", tensorOf("int2", [5], [1, -2, -1, 0, -1])).rawData]).toEqual([0b00_11_10_01, 0b11]);
  expect([...encodeTensor("t", tensorOf("uint2", [4], [1, 2, 3, 0])).rawData]).toEqual([0b00_11_10_01]);
});

describe("typed fields are read as raw data is", () => {
  type Fields = Parameters<typeof tensorProto>[0];
  const cases: readonly (readonly [DType, Fields, readonly (number | bigint)[]])[] = [
    ["float64", { dims: [2n], dataType: 11, doubleData: [0.1, -2] }, [0.1, -2]],
    ["int64", { dims: [2n], dataType: 7, int64Data: [1n, -(2n ** 62n)] }, [1n, -(2n ** 62n)]],
    ["uint64", { dims: [2n], dataType: 13, uint64Data: [1n, 2n ** 63n] }, [1n, 2n ** 63n]],
    ["uint32", { dims: [1n], dataType: 12, uint64Data: [4_000_000_000n] }, [4_000_000_000]],
    ["int8", { dims: [2n], dataType: 3, int32Data: [-128, 127] }, [-128, 127]],
    ["uint8", { dims: [2n], dataType: 2, int32Data: [0, 255] }, [0, 255]],
    ["float16", { dims: [1n], dataType: 10, int32Data: [0x3c00] }, [0x3c00]],
    ["bool", { dims: [2n], dataType: 9, int32Data: [0, 1] }, [0, 1]],
    ["int4", { dims: [3n], dataType: 22, int32Data: [0xe1, 0x08] }, [1, -2, -8]],
    ["int2", { dims: [5n], dataType: 26, int32Data: [0x39, 0x03] }, [1, -2, -1, 0, -1]],
    ["uint2", { dims: [4n], dataType: 25, rawData: Uint8Array.of(0x39) }, [1, 2, 3, 0]],
  ];
  test.each(cases)("%s", (dtype, fields, elements) => {
    const tensor = decodeTensor(tensorProto(fields), "t", { external: undefined, unsupported: refuseExternal });
    expect(tensor?.dtype).toBe(dtype);
    expect([...(tensor?.data ?? [])]).toEqual(elements);
  });
});

test("names, metadata and sizes of inputs and outputs are kept", () => {
  const proto = modelProto({
    nodes: [node("Relu", ["x"], ["y"], {}, { name: "the relu" })],
    inputs: [value("x", ["batch", 3])],
  });
  proto.producerVersion = "9.9";
  proto.domain = "org.example";
  proto.modelVersion = 42n;
  proto.docString = "A test.";
  proto.metadataProps.push({ $typeName: "onnx.StringStringEntryProto", key: "labels", value: "cat,dog" });
  const written = fromBinary(
    ModelProtoSchema,
    writeOnnx(readOnnx(toBinary(ModelProtoSchema, proto), { name: "m" }), { opset: 21 }),
  );
  const { producerName, producerVersion, domain, modelVersion, docString, metadataProps, irVersion, graph } = written;
  expect({ producerName, producerVersion, domain, modelVersion, docString }).toEqual({
    producerName: "test",
    producerVersion: "9.9",
    domain: "org.example",
    modelVersion: 42n,
    docString: "A test.",
  });
  expect(metadataProps.map(({ key, value: entry }) => [key, entry])).toEqual([["labels", "cat,dog"]]);
  expect(irVersion).toBe(10n);
  expect(written.opsetImport.map(({ version }) => version)).toEqual([21n]);
  expect(graph?.node[0].name).toBe("the relu");
  expect(readOnnx(toBinary(ModelProtoSchema, written), { name: "m" }).graph.values.get("y")?.shape).toEqual([
    "batch",
    3,
  ]);
});

test("numbers are written as floats where ONNX wants floats, and as integers elsewhere", async () => {
  const nodes = [
    node("LeakyRelu", ["x"], ["a"], { alpha: float(2) }),
    node("Elu", ["a"], ["b"], { alpha: float(1) }),
    node("Conv", ["b", "w"], ["y"], { strides: ints([1, 1]), group: int(1) }),
  ];
  const bytes = modelBytes({ nodes, initializers: [weights("w", [3, 2, 3, 3])] });
  const inputs = new Map([["x", createRandom(1).tensor("float32", [1, 2, 4, 4])]]);
  const again = await runModel(writeOnnx(readOnnx(bytes, { name: "m" }), { opset: 17 }), inputs);
  expectClose(again.get("y") as Tensor, (await runModel(bytes, inputs)).get("y") as Tensor);
});

test("operators of com.microsoft keep their domain", async () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [2, 3] });
  const graph = build.graph([build.node("Relu", [x])]);
  const fused = {
    ...graph.nodes[0],
    op: "com.microsoft::FusedMatMul",
    inputs: [x, x],
    attributes: { transB: 1, alpha: 2 },
  };
  const [y] = fused.outputs;
  const values = new Map(graph.values).set(y, { dtype: "float32", shape: [2, 2] });
  const bytes = writeOnnx({ graph: { ...graph, nodes: [fused], values }, origin }, { opset: 17 });
  const outputs = await runModel(bytes, new Map([[x, tensorOf("float32", [2, 3], [1, 0, 0, 0, 1, 0])]]));
  expect([...(outputs.get(y)?.data ?? [])]).toEqual([2, 0, 0, 2]);
});

describe("external data", () => {
  test("large initializers go to the file, aligned, and are read back from it", () => {
    const bytes = modelBytes({
      nodes: [node("Conv", ["x", "w"], ["c"]), node("Conv", ["c", "v"], ["d"]), node("Add", ["d", "small"], ["y"])],
      initializers: [weights("w", [32, 2, 3, 3]), weights("v", [32, 32, 1, 1]), weights("small", [1])],
    });
    const model = readOnnx(bytes, { name: "m" });
    const folder = mkdtempSync(join(tmpdir(), "frostbit-write-"));
    const parts: Uint8Array[] = [];
    const written = writeOnnx(model, {
      opset: 17,
      externalData: { location: "model.onnx_data", append: (part) => parts.push(part.slice()) },
    });
    writeFileSync(join(folder, "model.onnx"), written);
    writeFileSync(join(folder, "model.onnx_data"), Buffer.concat(parts));
    const again = readModel(join(folder, "model.onnx"));
    rmSync(folder, { recursive: true });
    for (const name of ["w", "v", "small"])
      expect(again.graph.constants.get(name)).toEqual(model.graph.constants.get(name));
    const proto = fromBinary(ModelProtoSchema, written).graph?.initializer ?? [];
    const places = proto.map(({ name, externalData }) => [name, externalData.map(({ value: entry }) => entry)]);
    expect(Object.fromEntries(places)).toEqual({
      w: ["model.onnx_data", "0", "2304"],
      v: ["model.onnx_data", "65536", "4096"],
      small: [],
    });
  });
  test("a model too large for one file is refused without it", () => {
    const data = new Float32Array(0);
    Object.defineProperty(data, "length", { value: 4e8 });
    const { graph } = readOnnx(modelBytes({ nodes: [node("Relu", ["x"], ["y"])] }), { name: "m" });
    const constants = new Map<string, Tensor>([["w", { dtype: "float32", shape: [4e8], data }]]);
    expect(() => writeOnnx({ graph: { ...graph, constants }, origin }, { opset: 17 })).toThrow(
      /take 1600000000 bytes; one ONNX file holds 1500000000\. .*float16.*externalData/,
    );
  });
});

describe("what an opset cannot express is refused with the lowest that can", () => {
  const model = (op: string, inputs: readonly string[] = ["x"]): OnnxModel =>
    readOnnx(modelBytes({ nodes: [node(op, inputs, ["y"])] }), { name: "m" });
  test("an operator that came later", () =>
    expect(() => writeOnnx(model("HardSwish"), { opset: 13 })).toThrow(
      'the model cannot be written in opset 13: HardSwish (node "hardswish"): the operator is newer (opset 14). Write it in opset 14 or newer.',
    ));
  test("several at once, with the highest of their lowest", () => {
    const nodes = [node("Erf", ["x"], ["a"]), node("HardSwish", ["a"], ["y"])];
    expect(() => writeOnnx(readOnnx(modelBytes({ nodes }), { name: "m" }), { opset: 8 })).toThrow(
      /Erf .*\(opset 9\); HardSwish .*\(opset 14\)\. Write it in opset 14/,
    );
  });
  test.each([
    ["int4", 21],
    ["uint2", 25],
  ] as const)("%s initializers", (dtype, opset) => {
    const build = buildOn();
    const q = build.constant(tensorOf(dtype, [2], [1, 3]), "q");
    const y = build.node("DequantizeLinear", [q, build.scalar(0.5)]);
    const graph = build.graph([y]);
    expect(opsetFor(graph, 13)).toBe(opset);
    expect(() => writeOnnx({ graph, origin }, { opset: opset - 1 })).toThrow(
      new RegExp(`${dtype} .*newer \\(opset ${opset}\\)`),
    );
    expect(writeOnnx({ graph, origin }, { opset }).length).toBeGreaterThan(0);
  });
  test("scales of blocks", () => {
    const build = buildOn();
    const q = build.constant(tensorOf("int8", [2, 4], [1, -8, 3, 4, 5, 6, 7, 8]), "q");
    const scale = build.constant(tensorOf("float32", [2, 2], [1, 2, 3, 4]), "scale");
    const graph = build.graph([build.node("DequantizeLinear", [q, scale], { axis: 1, block_size: 2 })]);
    expect(() => writeOnnx({ graph, origin }, { opset: 20 })).toThrow(
      /its attribute "block_size" \(2\) is newer \(opset 21\)/,
    );
    expect(writeOnnx({ graph, origin }, { opset: 21 }).length).toBeGreaterThan(0);
  });
  test("an operator that ONNX does not have", () => {
    const { graph } = model("Relu");
    const nodes = [{ ...graph.nodes[0], op: "FakeQuantize" }];
    expect(() => writeOnnx({ graph: { ...graph, nodes }, origin }, { opset: 24 })).toThrow(
      'FakeQuantize (node "relu") has no form in ONNX. Fold the quantizers and lower the graph before it is written.',
    );
  });
  test.each([6, 26, 13.5])("opset %d is not an opset to write", (opset) =>
    expect(() => writeOnnx(model("Relu"), { opset })).toThrow(`opset is ${opset}; expected 7 to 25.`),
  );
});

test("outputs that nothing reads are named where ONNX wants their names", async () => {
  const x = { dtype: "float32" as const, shape: [2, 4], data: Float32Array.of(1, 4, 2, 3, 8, 5, 7, 6) };
  const oneRead = [
    { wanted: "second", made: node("TopK", ["x", "k"], ["first", "second"], { axis: int(1) }) },
    { wanted: "first", made: node("TopK", ["x", "k"], ["first", "second"], { axis: int(1) }) },
    { wanted: "second", made: node("Split", ["x"], ["first", "second"], { axis: int(1) }) },
    { wanted: "first", made: node("Split", ["x"], ["first", "second"], { axis: int(1) }) },
  ];
  for (const { wanted, made } of oneRead) {
    const k = { ...weights("k", [1]), dataType: 7, floatData: [], int64Data: [2n] };
    const parts = { nodes: [made], inputs: [value("x", [2, 4])], initializers: [k], outputs: [untyped(wanted)] };
    const given = modelBytes(parts);
    const written = writeOnnx(readOnnx(given, { name: "given.onnx" }), { opset: 17 });
    const inputs = new Map([["x", x]]);
    expect(await runModel(written, inputs)).toEqual(await runModel(given, inputs));
  }
});
