// Large tensors stay in their files until they are used: what is read is counted, and what is computed is the same.
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph, Node, OnnxModel } from "../../src/ir/graph.ts";
import { sizeOf, type Tensor, tensor } from "../../src/ir/tensor.ts";
import { type ByteSource, bytesSource, isStored, minStoredBytes } from "../../src/ir/tensor-source.ts";
import { readModel } from "../../src/node/read-model.ts";
import { outlineFile } from "../../src/onnx/file-outline.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { inferTypes } from "../../src/passes/infer-types.ts";
import { cutUnit } from "../../src/units/cut-unit.ts";
import { createRandom } from "../support/random.ts";
import { tinyOrigin } from "../support/tiny-classifier.ts";

const width = 256;
const layers = 8;
const layerBytes = width * width * 4;

/** Products one after the other, each of a weight that takes 256 KB. */
function chain(): OnnxModel {
  const random = createRandom(5);
  const names = Array.from({ length: layers }, (_, i) => [`w${i}`, i === 0 ? "x" : `y${i - 1}`, `y${i}`] as const);
  const graph: Graph = {
    name: "chain",
    inputs: ["x"],
    outputs: [`y${layers - 1}`],
    variables: [],
    nodes: names.map(([weight, from, to], i) => ({
      name: `product${i}`,
      op: "MatMul",
      inputs: [from, weight],
      outputs: [to],
      attributes: {},
    })),
    constants: new Map(
      names.map(([weight]) => [weight, random.uniformTensor("float32", [width, width], -0.1, 0.1)] as const),
    ),
    literals: new Set(),
    values: new Map([["x", { dtype: "float32", shape: ["batch", width] }]]),
    updates: new Map(),
  };
  return { graph: inferTypes(graph), origin: tinyOrigin };
}

/** A source that adds up what is read of it. */
function counted(bytes: Uint8Array): { readonly source: ByteSource; readonly read: () => number } {
  let sum = 0;
  const whole = bytesSource(bytes);
  const source: ByteSource = {
    sizeBytes: whole.sizeBytes,
    read: (offset, length) => {
      sum += length;
      return whole.read(offset, length);
    },
  };
  return { source, read: () => sum };
}

const constantOf = ({ constants }: Graph, name: string): Tensor => {
  const found = constants.get(name);
  if (!found) throw new Error(`no constant ${name}`);
  return found;
};

/** Without the list of differences, which takes minutes where there are many. */
function expectSame(actual: Tensor, expected: Tensor): void {
  expect([actual.dtype, actual.shape]).toEqual([expected.dtype, expected.shape]);
  const bytesOf = ({ buffer, byteOffset, byteLength }: Tensor["data"]) => Buffer.from(buffer, byteOffset, byteLength);
  expect(bytesOf(actual.data).equals(bytesOf(expected.data))).toBe(true);
}

const model = chain();
const bytes = writeOnnx(model, { opset: 21 });
const { origin } = readOnnx(bytes, { name: "chain.onnx" });

describe("data in the model's file", () => {
  test("is not read with the model, and a part of the model reads its own alone", async () => {
    const { source, read } = counted(bytes);
    const { graph } = readOnnx(source, { name: "chain.onnx" });
    expect(read()).toBeLessThan(0.1 * bytes.length);
    expect([...graph.constants.values()].every(isStored)).toBe(true);
    const before = read();
    const unit = cutUnit(graph, ["y2"], ["y3"]);
    const engine = createReferenceEngine();
    const program = (await engine.compile(unit, {})).bind(await engine.variables(new Map()));
    const inputs = new Map([["y2", createRandom(1).uniformTensor("float32", [2, width], -1, 1)]]);
    const first = await program.run(inputs);
    expect(await program.run(inputs)).toEqual(first);
    expect(read() - before).toBe(layerBytes);
    const whole = cutUnit(readOnnx(bytes, { name: "chain.onnx" }).graph, ["y2"], ["y3"]);
    const expected = await (await engine.compile(whole, {})).bind(await engine.variables(new Map())).run(inputs);
    expect(first).toEqual(expected);
  });

  test("is what reading the bytes gives, and is written to the same bytes", () => {
    const { graph } = readOnnx(bytesSource(bytes), { name: "chain.onnx" });
    const expected = readOnnx(bytes, { name: "chain.onnx" }).graph;
    expect([...graph.constants.keys()]).toEqual([...expected.constants.keys()]);
    for (const [name, value] of graph.constants) expectSame(value, constantOf(expected, name));
    expect(Buffer.compare(writeOnnx({ graph, origin }, { opset: 21 }), bytes)).toBe(0);
  });

  test("in half precision is widened when it is used", () => {
    const half = new Map([...model.graph.constants.keys()].map((name) => [name, "float16"] as const));
    const narrow = writeOnnx({ ...model, origin: { ...tinyOrigin, half } }, { opset: 21 });
    const { source, read } = counted(narrow);
    const stored = readOnnx(source, { name: "half.onnx" });
    const before = read();
    const [, , , [name, fourth]] = stored.graph.constants;
    const expected = readOnnx(narrow, { name: "half.onnx" });
    expectSame(fourth, constantOf(expected.graph, name));
    expect(read() - before).toBe(layerBytes / 2);
    expect(Buffer.compare(writeOnnx(stored, { opset: 21 }), writeOnnx(expected, { opset: 21 }))).toBe(0);
  });

  test("that is NaN is refused when it is used, with the file's name", () => {
    const weights = new Float32Array(width * width).fill(1);
    weights[77] = Number.NaN;
    const constants = new Map([...model.graph.constants, ["w4", tensor("float32", [width, width], weights)]]);
    const broken = writeOnnx({ ...model, graph: { ...model.graph, constants } }, { opset: 21 });
    expect(() => readOnnx(broken, { name: "broken.onnx" })).toThrow(/^broken\.onnx: initializer "w4" holds NaN/);
    const { graph } = readOnnx(bytesSource(broken), { name: "broken.onnx" });
    expect(constantOf(graph, "w3").data.length).toBe(width * width);
    expect(() => constantOf(graph, "w4").data).toThrow(/^broken\.onnx: initializer "w4" holds NaN at index 77 of/);
  });

  test("cut off anywhere is refused as the same bytes are", () => {
    for (const length of [0, 1, 5, 40, 70_000, bytes.length - layerBytes, bytes.length - 1]) {
      const part = bytes.subarray(0, length);
      const messageOf = (file: Uint8Array | ByteSource): unknown => {
        try {
          return readOnnx(file, { name: "cut.onnx" });
        } catch (error) {
          return error instanceof Error ? error.message : error;
        }
      };
      expect(messageOf(bytesSource(part))).toBe(messageOf(part));
    }
  });

  test("leaves an outline that is a model itself, and small tensors in it", () => {
    const outline = outlineFile(bytesSource(bytes));
    expect(outline?.bytes.length).toBeLessThan(bytes.length - layers * layerBytes + 100);
    expect([...(outline?.rawData.keys() ?? [])]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    const { graph } = chain();
    const small = new Map([...graph.constants].map(([name]) => [name, tensor("float32", [4], new Float32Array(4))]));
    const tiny = writeOnnx({ graph: { ...graph, constants: small }, origin }, { opset: 21 });
    expect(outlineFile(bytesSource(tiny))).toEqual({ bytes: tiny, rawData: new Map() });
  });
});

describe("data beside the model", () => {
  let folder = "";
  let path = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "frostbit-stored-"));
    path = join(folder, "model.onnx");
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function writeFiles(): Uint8Array {
    const parts: Uint8Array[] = [];
    const target = { location: "model.data", append: (part: Uint8Array) => void parts.push(part) };
    writeFileSync(path, writeOnnx(model, { opset: 21, externalData: target }));
    const data = Buffer.concat(parts);
    writeFileSync(join(folder, "model.data"), data);
    return data;
  }

  test("is read by range when it is used", () => {
    const { source, read } = counted(writeFiles());
    const { graph } = readOnnx(readFileSync(path), { name: "model.onnx", external: () => source });
    expect(read()).toBe(0);
    expectSame(constantOf(graph, "w6"), constantOf(model.graph, "w6"));
    expect(read()).toBe(layerBytes);
  });

  test("may be written from one file to another, a tensor at a time", () => {
    const { source, read } = counted(writeFiles());
    const stored = readOnnx(readFileSync(path), { name: "model.onnx", external: () => source });
    const lengths: number[] = [];
    writeOnnx(stored, {
      opset: 21,
      externalData: {
        location: "again.data",
        append: (part) => {
          lengths.push(part.length);
          expect(read()).toBe(lengths.filter((length) => length === layerBytes).length * layerBytes);
        },
      },
    });
    expect(lengths.filter((length) => length === layerBytes).length).toBe(layers);
  });

  test("that changed or went is refused when it is used", () => {
    writeFiles();
    const { graph } = readModel(path);
    expect(constantOf(graph, "w0").data.length).toBe(width * width);
    appendFileSync(join(folder, "model.data"), "x");
    expect(() => constantOf(graph, "w0").data).toThrow(/model\.data" was changed while it was in use: opened with \d+/);
    rmSync(join(folder, "model.data"));
    expect(() => constantOf(graph, "w0").data).toThrow(/Cannot read ".*model\.data": no such file or folder/);
  });

  test("a model's file that changed is refused when it is used", () => {
    writeFileSync(path, bytes);
    const { graph } = readModel(path);
    writeFileSync(path, bytes.subarray(0, statSync(path).size / 2));
    expect(() => constantOf(graph, "w7").data).toThrow(/^model\.onnx: ".*model\.onnx" was changed while it was in use/);
  });
});

test("what is small is read with the model", () => {
  const { graph } = chain();
  const count = minStoredBytes / 4 - 1;
  const constants = new Map([...graph.constants, ["bias", tensor("float32", [count], new Float32Array(count))]]);
  const nodes: readonly Node[] = [
    ...graph.nodes.slice(0, -1),
    { ...graph.nodes[graph.nodes.length - 1], outputs: ["last"] },
    { name: "sum", op: "ReduceSum", inputs: ["bias"], outputs: ["total"], attributes: { keepdims: 0 } },
    { name: "add", op: "Add", inputs: ["last", "total"], outputs: [graph.outputs[0]], attributes: {} },
  ];
  const values = new Map([...graph.values, ["total", { dtype: "float32", shape: [] }] as const]);
  const file = writeOnnx({ graph: { ...graph, nodes, constants, values }, origin }, { opset: 11 });
  const { graph: read } = readOnnx(bytesSource(file), { name: "sum.onnx" });
  expect([...read.constants].filter(([, value]) => !isStored(value)).map(([, { shape }]) => sizeOf(shape))).toEqual([
    1,
  ]);
});

test("the pieces of a file are the bytes of its whole message", () => {
  expect(Buffer.compare(toBinary(ModelProtoSchema, fromBinary(ModelProtoSchema, bytes)), bytes)).toBe(0);
});
