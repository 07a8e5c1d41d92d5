// Forty kinds of malformed model: each a clear FrostbitError within seconds.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  FunctionProtoSchema,
  ModelProtoSchema,
  type TensorProto,
} from "onnx-buf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FrostbitError } from "../../src/ir/errors.ts";
import { readModel } from "../../src/node/read-model.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import {
  DataType,
  float,
  int,
  int64s,
  ints,
  type ModelParts,
  modelBytes,
  modelProto,
  node,
  shapeless,
  tensorProto,
  text,
  untyped,
  value,
  weights,
} from "../support/onnx-model.ts";
import { createRandom } from "../support/random.ts";

const maxMs = 3000;

/** Reads, and gives the error that must come. */
function errorOf(read: () => unknown): FrostbitError {
  const start = performance.now();
  try {
    read();
  } catch (error) {
    expect(performance.now() - start, "milliseconds").toBeLessThan(maxMs);
    if (error instanceof FrostbitError) return error;
    throw error;
  }
  return expect.fail("the model was read without an error");
}

const errorOfBytes = (bytes: Uint8Array): FrostbitError => errorOf(() => readOnnx(bytes, { name: "bad.onnx" }));

function expectError(bytes: Uint8Array, message: RegExp, code = "BAD_MODEL"): void {
  const error = errorOfBytes(bytes);
  expect(error.message).toMatch(message);
  expect(error.message).toMatch(/^bad\.onnx: /);
  expect(error.code).toBe(code);
}

/** x [1, 2, 4, 4] → Conv with 3 filters → Relu → y */
const good = {
  nodes: [node("Conv", ["x", "w"], ["c"], {}, { name: "conv" }), node("Relu", ["c"], ["y"])],
  initializers: [weights("w", [3, 2, 3, 3])],
};
const goodBytes = modelBytes(good);
const withWeights = (w: TensorProto): Uint8Array => modelBytes({ ...good, initializers: [w] });
const oneNode = (...args: Parameters<typeof node>): Uint8Array => modelBytes({ nodes: [node(...args)] });

test("the model that the others are broken copies of is read", () => {
  expect(readOnnx(goodBytes, { name: "good.onnx" }).graph.nodes).toHaveLength(2);
});

describe("files that are not models", () => {
  test("an empty file", () => expectError(new Uint8Array(), /the file is empty/));
  test("a text file", () => expectError(new TextEncoder().encode("This is not a model.\n"), /cannot be read|no graph/));
  test("an HTML page, as a failed download leaves", () =>
    expectError(new TextEncoder().encode("<!DOCTYPE html><html></html>"), /a page of HTML .*Download the model again/));
  test.each([
    ["a PyTorch file", "PK\x03\x04archive/data.pkl", /zip archive, such as PyTorch's .* torch\.onnx\.export/],
    ["an old PyTorch file", "\x80\x02\x8a\nl\xfc\x9cF", /pickle, such as PyTorch's .* torch\.onnx\.export/],
    [
      "TensorFlow Lite",
      "\x1c\0\0\0TFL3\x14\0 \0",
      /TensorFlow Lite model, and no ONNX model\. .*tf2onnx\.convert --tflite/,
    ],
    ["safetensors", '\x40\0\0\0\0\0\0\0{"w":{"dtype":"F32"', /safetensors file, which holds weights but no network/],
    ["Keras", "\x89HDF\r\n\x1a\n", /HDF5 file, such as Keras's \.h5/],
    ["ONNX Runtime's format", "\x18\0\0\0ORTM\0\0", /ONNX Runtime's own format \(\.ort\)/],
    ["GGUF", "GGUF\x03\0\0\0", /GGUF file/],
    ["gzip", "\x1f\x8b\x08\0", /compressed with gzip.*gunzip/],
    ["a pointer of Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", /git lfs pull/],
    ["NumPy", "\x93NUMPY\x01\0", /array of NumPy/],
    ["JSON", '{"a": 1}', /is JSON/],
  ])("%s is named, with what to do", (_, start, message) =>
    expectError(Buffer.concat([Buffer.from(start, "latin1"), Buffer.alloc(100)]), message),
  );
  test("zeros", () => expectError(new Uint8Array(1000), /cannot be read as an ONNX model/));
  test.each([1, 2, 3, 4, 5])("random bytes (seed %i)", (seed) => {
    const random = createRandom(seed);
    const bytes = Uint8Array.from({ length: 4096 }, () => random.integer(0, 256));
    expect(errorOfBytes(bytes).code).toBe("BAD_MODEL");
  });
  test("a model cut off anywhere never crashes and never reads as another model", () => {
    for (let length = 0; length < goodBytes.length; length++) {
      const error = errorOfBytes(goodBytes.subarray(0, length));
      expect(["BAD_MODEL", "SHAPE_MISMATCH"]).toContain(error.code);
    }
  });
  test("a model cut off in its weights", () =>
    expectError(goodBytes.subarray(0, goodBytes.length - 100), /truncated|cut off|no graph/));
  test("a model with one byte changed anywhere is read or refused, and never crashes", () => {
    for (let at = 0; at < goodBytes.length; at++) {
      const bytes = goodBytes.slice();
      bytes[at] ^= 0xff;
      try {
        readOnnx(bytes, { name: "changed.onnx" });
      } catch (error) {
        expect(error, `byte ${at}: ${error}`).toBeInstanceOf(FrostbitError);
      }
    }
  });
  test("messages nested 180 deep", () => {
    let attribute = create(AttributeProtoSchema, { name: "g", type: AttributeProto_AttributeType.GRAPH });
    for (let i = 0; i < 60; i++)
      attribute = create(AttributeProtoSchema, {
        name: "g",
        type: AttributeProto_AttributeType.GRAPH,
        g: { node: [{ opType: "If", output: ["y"], attribute: [attribute] }] },
      });
    expectError(oneNode("If", ["x"], ["y"], { g: attribute }), /cannot be read as an ONNX model .*recursion depth/);
  });
});

describe("models without what every model has", () => {
  test("no graph", () => {
    const model = modelProto(good);
    delete model.graph;
    expectError(toBinary(ModelProtoSchema, model), /holds no graph/);
  });
  test("no opset", () => expectError(modelBytes({ ...good, opset: "none" }), /does not say which version \(opset\)/));
  test("opset 6", () => expectError(modelBytes({ ...good, opset: 6 }), /opset 6; opsets 7 to 25 .*newer opset/));
  test("opset 99", () =>
    expectError(modelBytes({ ...good, opset: 99 }), /opset 99; opsets 7 to 25 .*opset_version=25/));
  test("no outputs", () => expectError(modelBytes({ ...good, outputs: [] }), /no outputs/));
  test("an output that nothing gives", () =>
    expectError(modelBytes({ ...good, outputs: [untyped("z")] }), /output "z" of the graph is given by no node/));
  test("the same output twice", () =>
    expectError(modelBytes({ ...good, outputs: [untyped("y"), untyped("y")] }), /output "y" twice/));
  test("an input without a shape", () => {
    const input = value("x", []);
    if (input.type?.value.case === "tensorType") delete input.type.value.value.shape;
    expectError(modelBytes({ ...good, inputs: [input] }), /input "x" has no shape/);
  });
  test("an input without a type", () =>
    expectError(modelBytes({ ...good, inputs: [untyped("x")] }), /input "x" has no type/));
});

describe("broken graphs", () => {
  test("a cycle", () => {
    const nodes = [
      node("Add", ["x", "c"], ["a"], {}, { name: "first" }),
      node("Relu", ["a"], ["b"], {}, { name: "second" }),
      node("Relu", ["b"], ["c"], {}, { name: "third" }),
      node("Relu", ["c"], ["y"], {}, { name: "last" }),
    ];
    expectError(modelBytes({ nodes }), /cycle: .*"first".* reads .*"third".* reads .*"second".* reads .*"first"/);
  });
  test("a node that reads itself", () => expectError(oneNode("Add", ["x", "y"], ["y"]), /cycle: Add .* reads Add/));
  test("nodes in the wrong order are sorted, which is not an error", () => {
    const nodes = [...good.nodes].reverse();
    const { graph } = readOnnx(modelBytes({ ...good, nodes }), { name: "model.onnx" });
    expect(graph.nodes.map(({ op }) => op)).toEqual(["Conv", "Relu"]);
  });
  test("a missing initializer", () =>
    expectError(modelBytes({ ...good, initializers: [] }), /Conv \(node "conv"\) reads "w", which no node.*missing/));
  test("several undefined inputs, told together", () =>
    expectError(oneNode("Add", ["p", "q"], ["y"]), /reads "p", .* reads "q", which no node/));
  test("two nodes that give the same value", () => {
    const nodes = [...good.nodes, node("Tanh", ["x"], ["c"])];
    expectError(modelBytes({ ...good, nodes }), /value "c" is given twice: by Conv \(node "conv"\) and by Tanh/);
  });
  test("the same initializer twice", () =>
    expectError(
      modelBytes({ ...good, initializers: [...good.initializers, ...good.initializers] }),
      /"w" is given twice/,
    ));
  test("the same input twice", () =>
    expectError(modelBytes({ ...good, inputs: [value("x", [1, 2, 4, 4]), value("x", [1])] }), /"x" is given twice/));
  test("two nodes of one name are renamed, which is not an error", () => {
    const nodes = [node("Relu", ["x"], ["a"], {}, { name: "n" }), node("Relu", ["a"], ["y"], {}, { name: "n" })];
    expect(readOnnx(modelBytes({ nodes }), { name: "m" }).graph.nodes.map(({ name }) => name)).toEqual(["n", "n_1"]);
  });
  test("an output declared with another shape than the graph computes", () =>
    expectError(
      modelBytes({ ...good, outputs: [value("y", [1, 3, 9, 9])] }),
      /output "y" is declared as float32 \[1, 3, 9, 9\]/,
    ));
  test("an output declared with another element type, with a shape or without", () => {
    for (const type of [value("y", [1, 3, 2, 2], DataType.INT64), shapeless("y", DataType.INT64)])
      expectError(
        modelBytes({ ...good, outputs: [type] }),
        /output "y" is declared as int64.*, but the graph computes float32 \[1, 3, 2, 2\]/,
      );
  });
  test("an output that an operator does not have", () =>
    expectError(
      modelBytes({ nodes: [node("CastLike", ["x", "x"], ["y", "z"])], outputs: [untyped("y"), untyped("z")] }),
      /CastLike \(node "castlike"\): it has 2 outputs; expected 1\./,
    ));
  test("a bias of a transposed convolution that does not fit", () => {
    const initializers = [weights("w", [2, 5, 3, 3]), weights("b", [3])];
    expectError(
      modelBytes({ nodes: [node("ConvTranspose", ["x", "w", "b"], ["y"])], initializers }),
      /its bias is \[3\]; expected \[5\]/,
      "SHAPE_MISMATCH",
    );
  });
  test("a negative depth", () => {
    const initializers = [weights("depth", [], [-2.5]), weights("bounds", [2], [0, 1])];
    expectError(
      modelBytes({ nodes: [node("OneHot", ["x", "depth", "bounds"], ["y"])], initializers }),
      /its depth is -2; expected 1 class or more/,
      "SHAPE_MISMATCH",
    );
  });
  test("an output declared with another type", () =>
    expectError(modelBytes({ ...good, outputs: [value("y", [1, 3, 2, 2], DataType.INT64)] }), /declared as int64/));
});

describe("broken weights", () => {
  const values = Array.from({ length: 54 }, (_, i) => i);
  const raw = (length: number, fields = {}): TensorProto =>
    tensorProto({
      name: "w",
      dims: [3n, 2n, 3n, 3n],
      dataType: DataType.FLOAT,
      rawData: new Uint8Array(length),
      ...fields,
    });

  test("NaN", () =>
    expectError(
      withWeights(weights("w", [3, 2, 3, 3], values.with(7, Number.NaN))),
      /initializer "w" holds NaN at index 7/,
    ));
  test("infinity", () =>
    expectError(
      withWeights(weights("w", [3, 2, 3, 3], values.with(9, Number.POSITIVE_INFINITY))),
      /initializer "w" holds Infinity at index 9/,
    ));
  test("NaN in float16", () => {
    const half = tensorProto({ name: "w", dims: [2n], dataType: DataType.FLOAT16, int32Data: [0x3c00, 0x7e00] });
    expectError(
      modelBytes({
        nodes: [node("Mul", ["x", "w"], ["y"])],
        inputs: [value("x", [2], DataType.FLOAT16)],
        initializers: [half],
      }),
      /initializer "w" holds NaN at index 1/,
    );
  });
  test("raw data too short", () => expectError(withWeights(raw(100)), /"w" has 100 bytes .* takes 216/));
  test("raw data too long", () => expectError(withWeights(raw(220)), /"w" has 220 bytes .* takes 216/));
  test("too few floats", () =>
    expectError(withWeights(weights("w", [3, 2, 3, 3], [1, 2])), /"w" has 2 entries .*\[3, 2, 3, 3\] takes 54/));
  test("no data at all", () => expectError(withWeights(raw(0)), /"w" has 0 bytes .* takes 216/));
  test("a type that ONNX does not have", () =>
    expectError(withWeights(raw(216, { dataType: 99 })), /element type 99, which ONNX does not have/));
  test("no type", () =>
    expectError(withWeights(raw(216, { dataType: 0 })), /element type 0, which ONNX does not have/));
  test("an absurd size", () =>
    expectError(withWeights(raw(8, { dims: [1n << 40n, 1n << 40n] })), /more than 2\^31 elements/));
  test("a size that overflows to a small product", () =>
    expectError(withWeights(raw(0, { dims: [1n << 32n, 1n << 32n] })), /more than 2\^31 elements/));
  test("a negative size", () =>
    expectError(withWeights(raw(8, { dims: [-1n, 2n] })), /\[-1, 2\]; sizes cannot be negative/));
  test("a million dimensions", () =>
    expectError(withWeights(raw(8, { dims: new Array(1_000_000).fill(1n) })), /has 1000000 dimensions/));
  test("int4 of the wrong length", () =>
    expectError(
      withWeights(tensorProto({ name: "w", dims: [5n], dataType: DataType.INT4, rawData: new Uint8Array(2) })),
      /"w" has 2 bytes of data; int4 of shape \[5\] takes 3/,
    ));
  test("an initializer without a name", () =>
    expectError(
      modelBytes({ ...good, initializers: [...good.initializers, weights("", [1])] }),
      /initializer has no name/,
    ));
  test("segments", () =>
    expectError(withWeights(raw(216, { segment: { begin: 0n, end: 1n } })), /split into segments/));
  test("an input of absurd size", () =>
    expectError(modelBytes({ ...good, inputs: [value("x", [1, 2 ** 20, 2 ** 20])] }), /input "x" .*more than 2\^31/));
  test("an input of negative size", () =>
    expectError(
      modelBytes({ ...good, inputs: [value("x", [-1, 2, 4, 4])] }),
      /input "x" has the size -1.*cannot be negative/,
    ));
});

describe("what is not handled is told all at once", () => {
  const refuse = (parts: ModelParts, message: RegExp): void =>
    expectError(modelBytes(parts), message, "UNSUPPORTED_OP");

  test("unknown operators, control flow and strings in one message", () => {
    const nodes = [
      node("Frobnicate", ["x"], ["a"], {}, { name: "f1" }),
      node("Frobnicate", ["a"], ["b"], {}, { name: "f2" }),
      node("Loop", ["b"], ["c"], {}, { name: "loop" }),
      node("Fancy", ["c"], ["y"], {}, { name: "fancy", domain: "my.domain" }),
    ];
    const initializers = [tensorProto({ name: "s", dims: [1n], dataType: DataType.STRING })];
    refuse(
      { nodes, initializers },
      /Frobnicate \(nodes "f1", "f2"\): unknown operator[\s\S]*Loop \(node "loop"\): control flow[\s\S]*my\.domain::Fancy[\s\S]*"s" has elements of type STRING/,
    );
  });
  test.each(["If", "Loop", "Scan"])("%s", (op) => refuse({ nodes: [node(op, ["x"], ["y"])] }, /control flow/));
  test("sequences", () => refuse({ nodes: [node("SequenceConstruct", ["x"], ["y"])] }, /sequences/));
  test("string inputs", () =>
    refuse({ ...good, inputs: [value("x", [1], DataType.STRING)] }, /input "x" has elements of type STRING/));
  test("sparse initializers", () => {
    const model = modelProto(good);
    model.graph?.sparseInitializer.push({
      $typeName: "onnx.SparseTensorProto",
      dims: [4n],
      values: weights("sparse", [1]),
    });
    expectError(toBinary(ModelProtoSchema, model), /sparse initializer "sparse"/, "UNSUPPORTED_OP");
  });
  test("local functions", () => {
    const model = modelProto(good);
    model.functions.push(create(FunctionProtoSchema, { name: "MyFunction" }));
    const bytes = toBinary(ModelProtoSchema, model);
    expectError(bytes, /local functions: "MyFunction"/, "UNSUPPORTED_OP");
  });
  test("a batch normalization in training mode", () =>
    refuse(
      {
        nodes: [node("BatchNormalization", ["x", "g", "g", "g", "g"], ["y"], { training_mode: int(1) })],
        initializers: [weights("g", [2])],
      },
      /BatchNormalization .* training mode.*model\.eval/,
    ));
});

describe("operators that contradict their inputs", () => {
  const wrong = (bytes: Uint8Array, message: RegExp): void => {
    const error = errorOfBytes(bytes);
    expect(error.message).toMatch(message);
    expect(["BAD_MODEL", "SHAPE_MISMATCH", "UNSUPPORTED_OP"]).toContain(error.code);
  };
  const conv = (dims: readonly number[], attributes = {}): Uint8Array =>
    modelBytes({ nodes: [node("Conv", ["x", "w"], ["y"], attributes)], initializers: [weights("w", dims)] });
  const reshape = (shape: readonly number[]): Uint8Array =>
    modelBytes({ nodes: [node("Reshape", ["x", "s"], ["y"])], initializers: [int64s("s", shape)] });

  test("Conv whose weights want other channels", () => wrong(conv([3, 5, 3, 3]), /Conv \(node "conv"\).*5/));
  test("Conv whose group does not divide", () => wrong(conv([3, 2, 3, 3], { group: int(2) }), /Conv \(node "conv"\)/));
  test("Conv with group 0", () => wrong(conv([3, 2, 3, 3], { group: int(0) }), /Conv \(node "conv"\)/));
  test("Conv with a stride of zero", () =>
    wrong(conv([3, 2, 3, 3], { strides: ints([0, 0]) }), /Conv \(node "conv"\)/));
  test("Conv with a dilation of zero", () =>
    wrong(conv([3, 2, 3, 3], { dilations: ints([0, 0]) }), /Conv \(node "conv"\)/));
  test("Conv with strides that are a string", () =>
    wrong(
      conv([3, 2, 3, 3], { strides: text("two") }),
      /Conv \(node "conv"\): attribute "strides" is a string; expected a list of integers\./,
    ));
  test("Conv with strides that are one float", () =>
    wrong(conv([3, 2, 3, 3], { strides: float(2) }), /attribute "strides" is a float; expected a list of integers/));
  test("Conv with too many strides", () =>
    wrong(conv([3, 2, 3, 3], { strides: ints([1, 1, 1]) }), /Conv \(node "conv"\)/));
  test("Conv with a kernel larger than its input", () => wrong(conv([3, 2, 9, 9]), /Conv \(node "conv"\)/));
  test("Conv without weights", () => wrong(oneNode("Conv", ["x"], ["y"]), /Conv \(node "conv"\)/));
  test("MaxPool with a negative kernel", () =>
    wrong(oneNode("MaxPool", ["x"], ["y"], { kernel_shape: ints([-1, -1]) }), /MaxPool \(node "maxpool"\)/));
  test("MaxPool without a kernel", () => wrong(oneNode("MaxPool", ["x"], ["y"]), /MaxPool \(node "maxpool"\)/));
  test("Reshape to another number of elements", () => wrong(reshape([5, 5]), /Reshape \(node "reshape"\)/));
  test("Reshape to two unknown sizes", () => wrong(reshape([-1, -1]), /Reshape \(node "reshape"\)/));
  test("Reshape to a size of -7", () => wrong(reshape([-7, 2]), /Reshape \(node "reshape"\)/));
  test.each([[[60]], [[3, 4, 5]], [[]]])("Resize with scales of shape %j", (dims) =>
    wrong(
      modelBytes({ nodes: [node("Resize", ["x", "", "s"], ["y"])], initializers: [weights("s", dims)] }),
      /Resize \(node "resize"\): its scales \(input "s"\) are \[.*\]; expected \[4\] for 4 axes/,
    ),
  );
  test.each([
    [
      "Concat of floats and indices",
      node("Concat", ["x", "s"], ["y"], { axis: int(0) }),
      /\(float32\) and "s" \(int64\) differ in type/,
    ],
    ["BitwiseOr of floats", node("BitwiseOr", ["x", "x"], ["y"]), /"x" is float32; expected whole numbers/],
    ["Gather at floats", node("Gather", ["x", "x"], ["y"]), /"x" is float32; expected int32 or int64/],
    ["Where by floats", node("Where", ["x", "x", "x"], ["y"]), /"x" is float32; expected bool/],
    ["LogSoftmax of indices", node("LogSoftmax", ["s"], ["y"]), /"s" is int64; expected a float/],
    ["Add of three", node("Add", ["x", "x", "x"], ["y"]), /Add \(node "add"\): it has 3 inputs; expected 2\./],
    ["Div of five", node("Div", ["x", "x", "x", "x", "x"], ["y"]), /Div \(node "div"\): it has 5 inputs; expected 2\./],
    ["Clip with four inputs", node("Clip", ["x", "x", "x", "x"], ["y"]), /it has 4 inputs; expected 3 at most\./],
    ["Relu with two outputs", node("Relu", ["x"], ["y", "z"]), /Relu \(node "relu"\): it has 2 outputs; expected 1\./],
    ["And of floats", node("And", ["x", "x"], ["y"]), /"x" is float32; expected bool/],
    [
      "GatherElements beyond its data",
      node("GatherElements", ["x", "wide"], ["y"]),
      /\[1, 3, 1, 1\] reach outside data \[1, 2, 4, 4\] beside axis 0/,
    ],
    [
      "ScatterElements with too few updates",
      node("ScatterElements", ["x", "two", "one"], ["y"]),
      /updates \[1, 1, 1, 1\] and indices \[1, 2, 1, 1\] differ in shape/,
    ],
    [
      "MaxPool with a negative pad",
      node("MaxPool", ["x"], ["y"], { kernel_shape: ints([1, 1]), pads: ints([0, 0, -2, 0]) }),
      /pads is \[0, 0, -2, 0\]; expected numbers of at least 0/,
    ],
    [
      "QuantizeLinear with scales for no axis",
      node("QuantizeLinear", ["x", "three"], ["y"]),
      /scale "three" is \[3\]; expected one number/,
    ],
    [
      "GroupNormalization in -1 groups",
      node("GroupNormalization", ["x", "pair", "pair"], ["y"], { num_groups: int(-1) }),
      /num_groups is -1; it must be positive/,
    ],
  ])("%s", (_, each, message) => {
    const indices = (name: string, dims: readonly number[]): TensorProto => {
      const int64Data = new Array<bigint>(dims.reduce((product, size) => product * size)).fill(0n);
      return tensorProto({ name, dims: dims.map(BigInt), dataType: DataType.INT64, int64Data });
    };
    const initializers = [int64s("s", [0]), indices("wide", [1, 3, 1, 1]), indices("two", [1, 2, 1, 1])];
    const floats = [weights("one", [1, 1, 1, 1]), weights("three", [3]), weights("pair", [2])];
    wrong(modelBytes({ opset: 21, nodes: [each], initializers: [...initializers, ...floats] }), message);
  });
  test("ConstantOfShape of a million axes", () =>
    wrong(
      modelBytes({ nodes: [node("ConstantOfShape", ["i"], ["y"])], inputs: [value("i", [1_000_000], DataType.INT64)] }),
      /its output would have 1000000 axes; expected 64 at most/,
    ));
  test("an axis without end beside an empty one", () => {
    const nodes = Array.from({ length: 40 }, (_, i) =>
      node("Resize", [i === 0 ? "x" : `r${i}`, "", "f"], [`r${i + 1}`], {}, { name: `r${i}` }),
    );
    wrong(
      modelBytes({ nodes, outputs: [untyped("r40")], initializers: [weights("f", [4], [1, 1, 2, 0.4])] }),
      /expected sizes from 0, and 2\^31 elements at most/,
    );
  });
  test("Concat along an axis that is not there", () =>
    wrong(oneNode("Concat", ["x", "x"], ["y"], { axis: int(9) }), /Concat \(node "concat"\).*9/));
  test("Transpose by what is not a permutation", () =>
    wrong(oneNode("Transpose", ["x"], ["y"], { perm: ints([0, 0, 1, 2]) }), /Transpose \(node "transpose"\)/));
  test("MatMul of sizes that do not fit", () =>
    wrong(
      modelBytes({ nodes: [node("MatMul", ["x", "w"], ["y"])], initializers: [weights("w", [5, 3])] }),
      /MatMul \(node "matmul"\).*4.*5/,
    ));
  test("Add of sizes that do not broadcast", () =>
    wrong(
      modelBytes({ nodes: [node("Add", ["x", "w"], ["y"])], initializers: [weights("w", [3])] }),
      /Add \(node "add"\)/,
    ));
  test("Add of different element types", () =>
    wrong(
      modelBytes({ nodes: [node("Add", ["x", "w"], ["y"])], initializers: [int64s("w", [1])] }),
      /Add \(node "add"\).*int64/,
    ));
  test("Cast to a type that ONNX does not have", () =>
    wrong(oneNode("Cast", ["x"], ["y"], { to: int(77) }), /"to" of Cast \(node "cast"\) is 77/));
  test("Cast to strings", () => wrong(oneNode("Cast", ["x"], ["y"], { to: int(8) }), /element type STRING/));
  test("an attribute beyond every integer", () =>
    wrong(oneNode("Concat", ["x"], ["y"], { axis: int(2n ** 62n) }), /"axis" of Concat .* is 4611686018427387904/));
  test("a node with the same attribute twice", () => {
    const twice = node("Concat", ["x"], ["y"], { axis: int(0) });
    twice.attribute.push(...twice.attribute);
    wrong(modelBytes({ nodes: [twice] }), /attribute "axis" twice/);
  });
});

describe("external data", () => {
  let folder = "";
  let outside = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "frostbit-external-"));
    outside = mkdtempSync(join(tmpdir(), "frostbit-outside-"));
    writeFileSync(join(outside, "secret.bin"), new Uint8Array(4096));
    writeFileSync(join(folder, "weights.bin"), new Uint8Array(new Float32Array(54).fill(1).buffer));
    writeFileSync(join(folder, "short.bin"), new Uint8Array(100));
    mkdirSync(join(folder, "inner"));
    symlinkSync(join(outside, "secret.bin"), join(folder, "link.bin"));
    symlinkSync(outside, join(folder, "linked-folder"));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
    rmSync(outside, { recursive: true });
  });

  const externalModel = (external: Readonly<Record<string, string>>): Uint8Array =>
    withWeights(
      tensorProto({ name: "w", dims: [3n, 2n, 3n, 3n], dataType: DataType.FLOAT, dataLocation: 1, external }),
    );
  const write = (external: Readonly<Record<string, string>>): string => {
    const path = join(folder, "model.onnx");
    writeFileSync(path, externalModel(external));
    return path;
  };
  const refuse = (external: Readonly<Record<string, string>>, message: RegExp): void => {
    const path = write(external);
    expect(errorOf(() => readModel(path)).message).toMatch(message);
  };

  test("a file in the model's folder is read", () => {
    const { graph } = readModel(write({ location: "weights.bin", offset: "0", length: "216" }));
    expect(graph.constants.get("w")?.data[53]).toBe(1);
  });
  test("above the folder", () =>
    refuse({ location: "../secret.bin" }, /"\.\.\/secret\.bin", outside the model's folder/));
  test("above the folder by a detour", () =>
    refuse({ location: "inner/../../secret.bin" }, /outside the model's folder/));
  test("above the folder with backslashes", () => refuse({ location: "..\\secret.bin" }, /outside the model's folder/));
  test("an absolute path", () => refuse({ location: "/etc/passwd" }, /"\/etc\/passwd", outside the model's folder/));
  test("a drive letter", () => refuse({ location: "C:\\secret.bin" }, /outside the model's folder/));
  test("a link out of the folder", () => refuse({ location: "link.bin" }, /is a link to .*outside the model's folder/));
  test("a linked folder", () => refuse({ location: "linked-folder/secret.bin" }, /outside the model's folder/));
  test("a missing file", () => refuse({ location: "nothing.bin" }, /"nothing\.bin" is not in the model's folder/));
  test("a folder instead of a file", () => {
    const error = errorOf(() => readModel(write({ location: "inner" })));
    expect(error.message).toMatch(/inner/);
  });
  test("no location", () => refuse({ offset: "0" }, /"w" is external, but says no location/));
  test("a truncated file", () =>
    refuse({ location: "short.bin" }, /wants bytes 0-216 of "short\.bin", which has 100 bytes/));
  test("an offset beyond the end", () =>
    refuse({ location: "weights.bin", offset: "200" }, /wants bytes 200-416 of "weights\.bin", which has 216/));
  test("an offset that is not a number", () =>
    refuse({ location: "weights.bin", offset: "-4" }, /external offset "-4"; expected a number of bytes/));
  test("a length that does not fit the shape", () =>
    refuse({ location: "weights.bin", length: "8" }, /takes 216 bytes, but its external data is 8 bytes long/));
  test("external data where only bytes were given", () => {
    const error = errorOfBytes(externalModel({ location: "weights.bin" }));
    expect(error.message).toMatch(/"w" is in the external file "weights\.bin", and no external files were given/);
  });
  test("a model file that is not there", () =>
    expect(errorOf(() => readModel(join(folder, "none.onnx"))).message).toMatch(
      /Cannot read ".*none\.onnx": no such file or folder\./,
    ));
});
