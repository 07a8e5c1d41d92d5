// Nodes that are not what their operator is in the model's opset: refused, as ONNX Runtime refuses them.
import { toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, type NodeProto } from "onnx-buf";
import { InferenceSession } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { FrostbitError } from "../../src/ir/errors.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import {
  DataType,
  float,
  int,
  int64s,
  ints,
  modelBytes,
  modelProto,
  node,
  shapeless,
  weights,
} from "../support/onnx-model.ts";

const four = weights("four", [4], [1, 1, 1, 1]);
const scales = weights("scales", [4], [1, 1, 2, 2]);
const outputs = [shapeless("y", DataType.FLOAT)];

const bytesOf = (each: NodeProto, opset: number): Uint8Array =>
  modelBytes({ opset, nodes: [each], outputs, initializers: [four, scales, weights("w", [3, 2, 3, 3])] });

const loads = async (bytes: Uint8Array): Promise<boolean> => {
  try {
    const session = await InferenceSession.create(bytes, { logSeverityLevel: 4 });
    await session.release();
    return true;
  } catch {
    return false;
  }
};

function messageOf(bytes: Uint8Array): string {
  try {
    readOnnx(bytes, { name: "m.onnx" });
    return "";
  } catch (error) {
    expect(error).toBeInstanceOf(FrostbitError);
    return (error as FrostbitError).message;
  }
}

describe("nodes that ONNX Runtime refuses are refused with a reason", () => {
  test.each<readonly [string, NodeProto, number, RegExp]>([
    [
      "an unknown attribute",
      node("Relu", ["x"], ["y"], { foo: int(1) }),
      13,
      /attribute "foo"; in opset 13 expected none/,
    ],
    [
      "an attribute of another operator",
      node("Concat", ["x", "x"], ["y"], { output_dtype: int(0) }),
      13,
      /attribute "output_dtype"; in opset 13 expected axis\./,
    ],
    ["a missing attribute", node("Concat", ["x", "x"], ["y"]), 13, /attribute "axis" is missing; it is required/],
    ["another missing attribute", node("Cast", ["x"], ["y"]), 13, /attribute "to" is missing; it is required/],
    [
      "an attribute of another type",
      node("Softmax", ["x"], ["y"], { axis: float(1) }),
      13,
      /attribute "axis" is a float; expected an integer/,
    ],
    [
      "an attribute of a newer opset",
      node("ReduceMean", ["x"], ["y"], { axes: ints([1]), noop_with_empty_axes: int(0) }),
      13,
      /"noop_with_empty_axes"; in opset 13 expected axes, keepdims/,
    ],
    [
      "an attribute of an older opset",
      node("Squeeze", ["x"], ["y"], { axes: ints([0]) }),
      13,
      /attribute "axes"; in opset 13 expected none/,
    ],
    ["an operator of a newer opset", node("Gelu", ["x"], ["y"]), 13, /from opset 20 on; the file is of opset 13/],
    [
      "an operator of a newer opset that is a function",
      node("Swish", ["x"], ["y"]),
      13,
      /from opset 24 on; the file is of opset 13/,
    ],
    [
      "an operator of an older opset",
      node("Upsample", ["x", "scales"], ["y"]),
      11,
      /dropped this operator with opset 10; the file is of opset 11/,
    ],
    [
      "a constant's attributes on another operator, and no inputs",
      node("GroupNormalization", [], ["y"], { value: int(1) }),
      17,
      /from opset 18 on; the file is of opset 17/,
    ],
    ["no inputs", node("Swish", [], ["y"]), 24, /input 0 is missing; it is required/],
    ["an empty input that must be there", node("Relu", [""], ["y"]), 13, /input 0 is missing; it is required/],
    ["an empty input beyond the last", node("Relu", ["x", ""], ["y"]), 13, /it has 2 inputs; expected 1\./],
    ["an empty output beyond the last", node("Relu", ["x"], ["y", ""]), 13, /it has 2 outputs; expected 1\./],
    [
      "an input that newer opsets may leave out",
      node("Resize", ["x", "", "scales"], ["y"]),
      11,
      /input 1 is missing; it is required/,
    ],
    ["an operator without an output", node("Relu", ["x"], []), 13, /it has 0 outputs; expected 1/],
  ])("%s", async (_, each, opset, message) => {
    const bytes = bytesOf(each, opset);
    expect(messageOf(bytes)).toMatch(message);
    expect(await loads(bytes)).toBe(false);
  });
});

describe("nodes that ONNX Runtime reads are read", () => {
  test.each<readonly [string, NodeProto, number]>([
    ["an attribute of the exporter's own", node("Relu", ["x"], ["y"], { __source: int(1) }), 13],
    ["LayerNormalization before opset 17", node("LayerNormalization", ["x", "four"], ["y"]), 13],
    ["an input that may be left out", node("Resize", ["x", "", "scales"], ["y"]), 13],
    ["an output that may be left out", node("BatchNormalization", ["x", "two", "two", "two", "two"], ["y"]), 13],
    [
      "GroupNormalization of opset 18, which ONNX calls deprecated",
      node("GroupNormalization", ["x", "two", "two"], ["y"], { num_groups: int(2) }),
      18,
    ],
  ])("%s", async (_, each, opset) => {
    const model = modelProto({ opset, nodes: [each], outputs, initializers: [four, scales, weights("two", [2])] });
    const bytes = toBinary(ModelProtoSchema, model);
    expect(messageOf(bytes)).toBe("");
    expect(await loads(bytes)).toBe(true);
  });
});

test("outputs that an operator must have are named in written files, also where nobody reads them", async () => {
  const top = node("TopK", ["x", "two"], ["y", "indices"], { axis: int(-1) });
  const bytes = modelBytes({ nodes: [top], outputs, initializers: [int64s("two", [2])] });
  const written = writeOnnx(readOnnx(bytes, { name: "m" }), { opset: 17 });
  expect(await loads(written)).toBe(true);
  expect(messageOf(written)).toBe("");
});

describe("ONNX's domain twice among the versions of operators", () => {
  const bytes = (domain: string, version: number): Uint8Array => {
    const model = modelProto({ opset: 21, nodes: [node("Relu", ["x"], ["y"])], outputs });
    model.opsetImport.push({ $typeName: "onnx.OperatorSetIdProto", domain, version: BigInt(version) });
    return toBinary(ModelProtoSchema, model);
  };

  test.each(["", "ai.onnx"])('as "%s" with another version is refused', (domain) => {
    expect(messageOf(bytes(domain, 13))).toMatch(
      /says twice which version \(opset\) of ONNX's operators it uses: 21 and 13\. /,
    );
  });
  test.each([
    ["", 21],
    ["ai.onnx", 21],
    ["com.example", 1],
  ])('as "%s" with version %i is read', async (domain, version) => {
    expect(messageOf(bytes(domain, version))).toBe("");
    expect(await loads(bytes(domain, version))).toBe(true);
  });
});
