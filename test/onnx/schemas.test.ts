// Nodes that are not what ONNX's schemas of their file's opset say. ONNX Runtime refuses what is refused here.
import type { NodeProto } from "onnx-buf";
import { describe, expect, test } from "vitest";
import { FrostbitError } from "../../src/ir/errors.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { schemas } from "../../src/onnx/schemas.ts";
import { contribSchemas } from "../../src/onnx/upgrade/contrib.ts";
import { upgradedOps } from "../../src/onnx/upgrade/index.ts";
import { isOwn, opDefinition, opTypes } from "../../src/ops/index.ts";
import { float, int, ints, modelBytes, node, text, value, weights } from "../support/onnx-model.ts";
import { runModel } from "../support/run-model.ts";

test("every operator that files may have has a schema, and is no older than it says", () => {
  const read = [...opTypes.filter((op) => !isOwn(op)), ...upgradedOps, "Constant"];
  expect(Object.keys({ ...schemas, ...contribSchemas }).sort()).toEqual([...new Set(read)].sort());
  for (const [op, [oldest]] of Object.entries(schemas)) {
    const introduced = opDefinition(op)?.introduced;
    // GroupNormalization of opset 18 is another operator, which upgrading replaces.
    if (introduced === undefined || op === "GroupNormalization") continue;
    // Some were introduced under another name.
    expect(Number(introduced), op).toBeLessThanOrEqual(Number.parseInt(oldest, 10));
  }
});

interface WrongNode {
  readonly what: string;
  readonly node: NodeProto;
  readonly opset: number;
  readonly message: RegExp;
}

/** They read x, float32 [1, 2, 4, 4], and w, float32 [2, 2, 3, 3]. */
const wrongNodes: readonly WrongNode[] = [
  {
    what: "an attribute of another operator",
    node: node("Relu", ["x"], ["y"], { alpha: float(0.1) }),
    opset: 17,
    message: /Relu \(node "relu"\): it has the attribute "alpha"; in opset 17 expected none\./,
  },
  {
    what: "an attribute of a later opset",
    node: node("AveragePool", ["x"], ["y"], { kernel_shape: ints([2, 2]), dilations: ints([2, 2]) }),
    opset: 18,
    message: /it has the attribute "dilations"; in opset 18 expected auto_pad, ceil_mode/,
  },
  {
    what: "an attribute of an earlier opset",
    node: node("Unsqueeze", ["x"], ["y"], { axes: ints([0]) }),
    opset: 13,
    message: /input 1 is missing; it is required\./,
  },
  {
    what: "an attribute of another kind",
    node: node("Conv", ["x", "w"], ["y"], { group: float(1) }),
    opset: 17,
    message: /attribute "group" is a float; expected an integer\./,
  },
  {
    what: "no attribute where one is required",
    node: node("DepthToSpace", ["x"], ["y"]),
    opset: 17,
    message: /attribute "blocksize" is missing; it is required\./,
  },
  {
    what: "a text where an integer is expected",
    node: node("Softmax", ["x"], ["y"], { axis: text("1") }),
    opset: 17,
    message: /attribute "axis" is a string; expected an integer\./,
  },
  {
    what: "an operator of a later opset",
    node: node("Gelu", ["x"], ["y"]),
    opset: 19,
    message: /ONNX has this operator from opset 20 on; the file is of opset 19\./,
  },
  {
    what: "an operator that ONNX dropped",
    node: node("Scatter", ["x", "x", "x"], ["y"], { axis: int(0) }),
    opset: 11,
    message: /ONNX dropped this operator with opset 11; the file is of opset 11\./,
  },
  {
    what: "an input of a later opset",
    node: node("ReduceMax", ["x", "axes"], ["y"]),
    opset: 17,
    message: /it has 2 inputs; expected 1\./,
  },
  {
    what: "a left-out input beyond the last",
    node: node("Neg", ["x", ""], ["y"]),
    opset: 17,
    message: /it has 2 inputs; expected 1\./,
  },
  {
    what: "an output too many",
    node: node("Abs", ["x"], ["y", "z"]),
    opset: 17,
    message: /it has 2 outputs; expected 1\./,
  },
  {
    what: "element types that the opset's operator does not take",
    node: node("Equal", ["x", "x"], ["y"]),
    opset: 10,
    message: /input "x" is float32; expected int32, int64, bool in opset 10\./,
  },
  {
    what: "element types that differ",
    node: node("PRelu", ["x", "axes"], ["y"]),
    opset: 17,
    message: /inputs "x" \(float32\) and "axes" \(int64\) differ in type; expected one type\./,
  },
];

const given = new Map([
  ["x", { dtype: "float32" as const, shape: [1, 2, 4, 4], data: Float32Array.from({ length: 32 }, (_, i) => i) }],
]);

describe("a node that its opset does not have so is refused, as ONNX Runtime refuses it", () => {
  test.each(wrongNodes)("$what", async ({ node: wrong, opset, message }) => {
    const bytes = modelBytes({
      nodes: [wrong],
      opset,
      inputs: [value("x", [1, 2, 4, 4])],
      initializers: [
        weights("w", [2, 2, 3, 3]),
        { ...weights("axes", []), dataType: 7, floatData: [], int64Data: [1n] },
      ],
    });
    expect(() => readOnnx(bytes, { name: "wrong.onnx" })).toThrow(message);
    expect(() => readOnnx(bytes, { name: "wrong.onnx" })).toThrow(FrostbitError);
    await expect(runModel(bytes, given)).rejects.toThrow();
  });
});

test("attributes whose names begin with two underscores are whoever made the file's", async () => {
  const bytes = modelBytes({ nodes: [node("Relu", ["x"], ["y"], { __note: text("mine") })] });
  expect(readOnnx(bytes, { name: "private.onnx" }).graph.nodes).toHaveLength(1);
  expect((await runModel(bytes, given)).get("y")?.shape).toEqual([1, 2, 4, 4]);
});

test("a version that ONNX replaced is read in the opsets that have it", async () => {
  const groups = node("GroupNormalization", ["x", "ones", "ones"], ["y"], { num_groups: int(2) });
  const bytes = modelBytes({ nodes: [groups], opset: 18, initializers: [weights("ones", [2], [1, 1])] });
  expect(readOnnx(bytes, { name: "groups.onnx" }).graph.nodes.length).toBeGreaterThan(0);
  expect((await runModel(bytes, given)).get("y")?.shape).toEqual([1, 2, 4, 4]);
});
