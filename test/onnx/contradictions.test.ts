// Nodes whose inputs or attributes contradict each other: refused by name, before or in the run, as ONNX Runtime refuses them.
import type { NodeProto, TensorProto } from "onnx-buf";
import { describe, expect, test } from "vitest";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { FrostbitError } from "../../src/ir/errors.ts";
import { type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { DataType, float, int, int64s, ints, modelBytes, node, text, value, weights } from "../support/onnx-model.ts";
import { runGraph } from "../support/run-graph.ts";
import { runModel } from "../support/run-model.ts";

interface Contradiction {
  readonly what: string;
  readonly node: NodeProto;
  readonly message: RegExp;
  readonly opset?: number;
  readonly x?: readonly number[];
  readonly initializers?: readonly TensorProto[];
  /** ONNX Runtime refuses it, or takes its process with it. */
  readonly endsOnnxRuntime?: true;
}

const int64 = (name: string, dims: readonly number[], values: readonly number[]): TensorProto => ({
  ...int64s(name, values),
  dims: dims.map(BigInt),
});

/** They read x, float32 [2, 3, 4, 4] by default, and what is with them. */
const contradictions: readonly Contradiction[] = [
  {
    what: "axes of two axes",
    opset: 18,
    node: node("ReduceMax", ["x", "i"], ["y"]),
    initializers: [int64("i", [1, 1], [0])],
    message: /input "i" has the shape \[1, 1\]; expected a vector\./,
  },
  {
    what: "a target that is a scalar",
    node: node("Reshape", ["x", "i"], ["y"]),
    initializers: [int64("i", [], [96])],
    message: /input "i" has the shape \[\]; expected a vector\./,
  },
  {
    what: "a k that is a scalar",
    node: node("TopK", ["x", "i"], ["y", "z"]),
    initializers: [int64("i", [], [1])],
    message: /input "i" has the shape \[\]; expected a vector of one\./,
  },
  {
    what: "three values of OneHot",
    node: node("OneHot", ["x", "i", "three"], ["y"]),
    initializers: [int64("i", [], [4]), weights("three", [3])],
    message: /it has 3 values; expected 2/,
  },
  {
    what: "a depth of 0",
    node: node("OneHot", ["x", "i", "two"], ["y"]),
    initializers: [int64("i", [], [0]), weights("two", [2])],
    message: /its depth is 0; expected 1 class or more/,
  },
  {
    what: "batch axes of GatherND that differ",
    node: node("GatherND", ["x", "i"], ["y"], { batch_dims: int(1) }),
    initializers: [int64("i", [3, 1], [0, 1, 2])],
    message: /indices \[3, 1\] and data \[2, 3, 4, 4\] do not share 1 batch axes\./,
  },
  {
    what: "more batch axes than indices have",
    node: node("GatherND", ["x", "i"], ["y"], { batch_dims: int(2) }),
    initializers: [int64("i", [2, 1], [0, 1])],
    message: /do not share 2 batch axes\./,
  },
  {
    what: "updates of another shape than the indices",
    node: node("ScatterElements", ["x", "i", "x"], ["y"]),
    initializers: [int64("i", [1, 3, 4, 4], new Array<number>(48).fill(0))],
    message: /updates \[2, 3, 4, 4\] and indices \[1, 3, 4, 4\] differ in shape\./,
  },
  {
    what: "the diagonal of axes that differ",
    node: node("Einsum", ["x"], ["y"], { equation: text("abii->abi") }),
    x: [2, 3, 1, 4],
    message: /term "abii" takes a diagonal of \[2, 3, 1, 4\], whose axes differ in size\./,
  },
  {
    what: "an uneven split whose sizes are not given",
    node: node("Split", ["x"], ["y", "z"], { axis: int(1) }),
    message: /cannot split \[2, 3, 4, 4\] into 2 equal parts; its sizes are not given\./,
  },
  {
    what: "parts of which neither sizes nor number are given",
    node: node("Split", ["x"], ["y", "z"], { axis: int(2) }),
    opset: 18,
    message: /neither the sizes of its parts nor num_outputs is given\./,
  },
  {
    what: "more parts than the last smaller one allows",
    node: node("Split", ["x"], ["y", "z", "v"], { axis: int(2), num_outputs: int(3) }),
    opset: 18,
    message: /cannot split 4 elements into 3 parts of 2, the last of which may be smaller\./,
  },
  {
    what: "a reflection of one element",
    node: node("Pad", ["x", "i"], ["y"], { mode: text("reflect") }),
    x: [2, 3, 1, 4],
    initializers: [int64s("i", [0, 0, 1, 0, 0, 0, 0, 0])],
    message: /mode "reflect" has 1 elements to repeat along an axis; expected 2 or more\./,
  },
  {
    what: "a reflection beyond what is left of an axis",
    node: node("Pad", ["x", "i"], ["y"], { mode: text("reflect") }),
    x: [2, 3, 4, 3],
    initializers: [int64s("i", [0, 0, 0, -1, 0, 0, 0, 2])],
    message: /mode "reflect" has 2 elements along an axis and adds 2; expected 1 or fewer\./,
  },
  {
    what: "an edge of what is cut off",
    node: node("Pad", ["x", "i"], ["y"], { mode: text("edge") }),
    initializers: [int64s("i", [0, 0, 1, 0, 0, 0, -4, 0])],
    message: /mode "edge" has 0 elements to repeat/,
  },
  {
    what: "an unknown order of blocks",
    node: node("DepthToSpace", ["x"], ["y"], { blocksize: int(2), mode: text("dcr") }),
    x: [1, 4, 2, 2],
    message: /mode is "dcr"; expected DCR, CRD\./,
  },
  {
    what: "an unknown approximation",
    node: node("Gelu", ["x"], ["y"], { approximate: text("erf") }),
    opset: 20,
    message: /approximate is "erf"; expected none, tanh\./,
  },
  {
    what: "both pads and auto_pad",
    node: node("Conv", ["x", "w"], ["y"], { pads: ints([1, 1, 1, 1]), auto_pad: text("SAME_UPPER") }),
    initializers: [weights("w", [3, 3, 3, 3])],
    message: /it has both pads and auto_pad SAME_UPPER; expected one of them\./,
  },
  {
    what: "pads as wide as the kernel of a pool",
    endsOnnxRuntime: true,
    node: node("MaxPool", ["x"], ["y"], { kernel_shape: ints([2, 2]), pads: ints([2, 0, 0, 0]) }),
    message: /pads \[2, 0, 0, 0\] reach kernel_shape \[2, 2\]: a window would see padding alone\./,
  },
  {
    what: "sizes of a transposed convolution for the batch too",
    node: node("ConvTranspose", ["x", "w"], ["y"], { output_shape: ints([2, 3, 6, 6]) }),
    initializers: [weights("w", [3, 3, 3, 3])],
    message: /output_shape is \[2, 3, 6, 6\]; expected 2 sizes\./,
  },
  {
    what: "a transposed convolution in no groups",
    endsOnnxRuntime: true,
    node: node("ConvTranspose", ["x", "w"], ["y"], { group: int(0) }),
    initializers: [weights("w", [3, 3, 3, 3])],
    message: /group is 0; expected 1 or more\./,
  },
  {
    what: "the remainder of floats without fmod",
    node: node("Mod", ["x", "x"], ["y"]),
    message: /its inputs are float32, of which ONNX has fmod 1 alone\./,
  },
  {
    what: "the largest of no elements",
    node: node("ArgMax", ["x"], ["y"], { axis: int(1) }),
    x: [2, 0, 4, 4],
    message: /axis 1 of \[2, 0, 4, 4\] is empty/,
  },
  {
    what: "an exclusion of the outside where nothing is cubic",
    node: node("Resize", ["x", "", "s"], ["y"], { mode: text("linear"), exclude_outside: int(1) }),
    initializers: [weights("s", [4], [1, 1, 2, 2])],
    message: /exclude_outside goes with mode cubic alone\./,
  },
  {
    what: "a scale of 0",
    node: node("Resize", ["x", "", "s"], ["y"]),
    initializers: [weights("s", [4], [1, 1, 0, 2])],
    message: /axis 2 of size 4 has the scale 0; expected a number above 0/,
  },
  {
    what: "a flag that is 2",
    node: node("CumSum", ["x", "i"], ["y"], { exclusive: int(2) }),
    initializers: [int64("i", [], [0])],
    message: /attribute "exclusive" is 2; expected 0 or 1\./,
  },
  {
    what: "a reshape of many to none",
    node: node("Reshape", ["x", "i"], ["y"]),
    initializers: [int64s("i", [])],
    message: /cannot reshape \[2, 3, 4, 4\] to \[\]/,
  },
  {
    what: "labels for another number of samples",
    node: node("SoftmaxCrossEntropyLoss", ["x", "i"], ["y"]),
    x: [2, 3],
    initializers: [int64s("i", [0, 1, 2])],
    message: /logits are \[2, 3\] and labels \[3\]; expected labels \[2\]\./,
  },
  {
    what: "a label that is no class",
    node: node("SoftmaxCrossEntropyLoss", ["x", "i"], ["y"]),
    x: [2, 3],
    initializers: [int64s("i", [0, 3])],
    message: /label 3 is no class of its 3; expected 0 to 2\./,
  },
  {
    what: "an axis to cumulate that x lacks",
    node: node("CumSum", ["x", "i"], ["y"]),
    initializers: [int64("i", [], [4])],
    message: /axis 4 is outside a tensor of 4 axes\./,
  },
  ...["Gather", "GatherElements", "ScatterElements"].map((op) => ({
    what: `an index of ${op} beyond its axis`,
    node: node(op, op.startsWith("Scatter") ? ["x", "i", "w"] : ["x", "i"], ["y"], { axis: int(1) }),
    initializers: [int64("i", [1, 1, 1, 1], [-4]), weights("w", [1, 1, 1, 1])],
    message: /index -4 is outside an axis of 3 elements\./,
  })),
  ...["GatherND", "ScatterND"].map((op) => ({
    what: `an index of ${op} beyond its second axis`,
    node: node(op, op.startsWith("Scatter") ? ["x", "i", "w"] : ["x", "i"], ["y"]),
    initializers: [int64("i", [1, 2], [1, 3]), weights("w", [1, 4, 4])],
    message: /index 3 is outside an axis of 3 elements\./,
  })),
  {
    what: "blocks that share one scale",
    opset: 21,
    node: node("QuantizeLinear", ["x", "w"], ["y"], { block_size: int(2) }),
    initializers: [weights("w", [])],
    message: /its block_size is 2, and it has one scale for all/,
  },
  {
    what: "an axis that is cut twice",
    node: node("Slice", ["x", "i", "i", "axes"], ["y"]),
    initializers: [int64s("i", [0, 0]), int64s("axes", [1, -3])],
    message: /axes \[1, -3\] name one axis twice\./,
  },
  {
    what: "an empty axis that is to grow",
    opset: 18,
    x: [0, 2, 3, 4],
    node: node("Resize", ["x", "", "", "i"], ["y"]),
    initializers: [int64s("i", [1, 2, 3, 4])],
    message: /axis 0 is empty, and is to have the size 1/,
  },
  {
    what: "a mean without a variance",
    node: node("BatchNormalization", ["x", "w", "w", "w", "w"], ["y", "mean"]),
    initializers: [weights("w", [3])],
    message: /it has 2 outputs; expected 1 or 3\./,
  },
  {
    what: "padding of an output of one axis for two",
    node: node("ConvTranspose", ["x", "w"], ["y"], { output_padding: ints([1]), strides: ints([2, 2]) }),
    initializers: [weights("w", [3, 1, 2, 2])],
    message: /output_padding is \[1\]; expected 2 sizes\./,
  },
  {
    what: "a matrix product of vectors",
    x: [3],
    node: node("Einsum", ["x", "w"], ["y"], { equation: text("ij,jk") }),
    initializers: [weights("w", [3, 2])],
    message: /term "ij" names 2 axes of \[3\]\./,
  },
  {
    what: "an Upsample that shrinks",
    opset: 9,
    node: node("Upsample", ["x", "w"], ["y"]),
    initializers: [weights("w", [4], [1, 1, 0.5, 1])],
    message: /it has the scale 0\.5; expected 1 or more\./,
  },
  {
    what: "a range without end",
    node: node("Range", ["i", "i2", "zero"], ["y"]),
    initializers: [int64("i", [], [0]), int64("i2", [], [3]), int64("zero", [], [0])],
    message: /from 0 to 3 by 0 has no end/,
  },
];

const drawn = (shape: readonly number[]): Tensor =>
  tensorOf(
    "float32",
    shape,
    Array.from({ length: shape.reduce((product, size) => product * size, 1) }, (_, i) => i / 10),
  );

async function runHere(bytes: Uint8Array, inputs: ReadonlyMap<string, Tensor>): Promise<void> {
  const { graph } = readOnnx(bytes, { name: "wrong.onnx" });
  await runGraph(createReferenceEngine(), graph, inputs);
}

describe("what contradicts itself is refused, as ONNX Runtime refuses it", () => {
  test.each(contradictions)("$what", async ({ node: wrong, message, opset = 17, x = [2, 3, 4, 4], ...rest }) => {
    const { initializers, endsOnnxRuntime } = rest;
    const parts = { nodes: [wrong], opset, inputs: [value("x", x)], ...(initializers ? { initializers } : {}) };
    const inputs = new Map([["x", drawn(x)]]);
    const error = await runHere(modelBytes(parts), inputs).then(
      () => undefined,
      (each: unknown) => each,
    );
    expect(error).toBeInstanceOf(FrostbitError);
    expect((error as FrostbitError).message).toMatch(message);
    if (!endsOnnxRuntime) await expect(runModel(modelBytes(parts), inputs)).rejects.toThrow();
  });
});

describe("sizes that a file leaves open are checked in the run by the same rules", () => {
  const open: readonly Contradiction[] = [
    { what: "Add", node: node("Add", ["x", "t"], ["y"]), message: /cannot broadcast \[2\] with \[3\]/ },
    { what: "Gemm", node: node("MatMul", ["x", "t"], ["y"]), message: /\[2\].*\[3\]/ },
    { what: "Concat", node: node("Concat", ["u", "v"], ["y"], { axis: int(0) }), message: /cannot concatenate/ },
    { what: "MatMul", node: node("MatMul", ["u", "v"], ["y"]), message: /\[1, 2\].*\[1, 3\]/ },
  ];
  test.each(open)("$what", async ({ node: wrong, message }) => {
    const types = [value("x", ["n"]), value("t", ["m"]), value("u", [1, "n"]), value("v", [1, "m"])];
    const shapes = { x: [2], t: [3], u: [1, 2], v: [1, 3] };
    const bytes = modelBytes({ nodes: [wrong], inputs: types.filter(({ name }) => wrong.input.includes(name)) });
    const inputs = new Map(
      Object.entries(shapes).flatMap(([name, shape]) =>
        wrong.input.includes(name) ? [[name, drawn(shape)] as const] : [],
      ),
    );
    await expect(runHere(bytes, inputs)).rejects.toThrow(message);
    await expect(runModel(bytes, inputs)).rejects.toThrow();
  });
});

test("a batch that is left open does not hide that the elements of a sample differ in number", async () => {
  const reshape = (target: readonly number[]) =>
    modelBytes({
      nodes: [node("Reshape", ["x", "i"], ["y"])],
      inputs: [value("x", ["N", 10, 36])],
      initializers: [int64s("i", target)],
    });
  for (const target of [
    [0, 10, 3, 3, 1],
    [0, -1, 7],
  ]) {
    expect(() => readOnnx(reshape(target), { name: "wrong.onnx" })).toThrow(/cannot reshape \[N, 10, 36\]/);
    await expect(runModel(reshape(target), new Map([["x", drawn([2, 10, 36])]]))).rejects.toThrow();
  }
});

test.each([
  ["half precision", DataType.FLOAT, DataType.FLOAT16],
  ["float", DataType.FLOAT16, DataType.FLOAT],
  ["float where bfloat16 is computed", DataType.BFLOAT16, DataType.FLOAT],
])("an output that is declared as %s and is not is refused", async (_, computed, declared) => {
  const bytes = modelBytes({
    nodes: [node("Cast", ["x"], ["y"], { to: int(computed) })],
    outputs: [value("y", [2, 3], declared)],
  });
  expect(() => readOnnx(bytes, { name: "wrong.onnx" })).toThrow(/output "y" is declared as .*, but the graph computes/);
  await expect(runModel(bytes, new Map([["x", drawn([2, 3])]]))).rejects.toThrow();
});

test("an integer divided by zero is refused in every type", async () => {
  for (const dtype of ["int32", "uint8", "int64"] as const) {
    const bytes = modelBytes({
      nodes: [node("Mod", ["a", "b"], ["y"])],
      inputs: ["a", "b"].map((name) =>
        value(name, [1], { int32: DataType.INT32, uint8: DataType.UINT8, int64: DataType.INT64 }[dtype]),
      ),
    });
    const inputs = new Map(["a", "b"].map((name) => [name, tensorOf(dtype, [1], [name === "a" ? 1 : 0])]));
    await expect(runHere(bytes, inputs)).rejects.toThrow(/An integer was divided by zero/);
  }
});

test("parameters of a layer normalization beyond its axes are refused, not misread", () => {
  const bytes = modelBytes({
    nodes: [node("LayerNormalization", ["x", "w"], ["y"], { axis: int(3) })],
    initializers: [weights("w", [4, 4])],
  });
  expect(() => readOnnx(bytes, { name: "wrong.onnx" })).toThrow(
    /a parameter is \[4, 4\], with sizes beyond the 1 axes that are normalized\./,
  );
});

test("an input and its initializer that differ are refused", async () => {
  const parts = {
    nodes: [node("Add", ["x", "w"], ["y"])],
    inputs: [value("x", [2, 3]), value("w", [2, 3])],
    initializers: [weights("w", [3])],
  };
  expect(() => readOnnx(modelBytes(parts), { name: "wrong.onnx" })).toThrow(
    /input "w" is float32 \[2, 3\], and its initializer float32 \[3\]\./,
  );
  await expect(runModel(modelBytes(parts), new Map([["x", drawn([2, 3])]]))).rejects.toThrow();
});

test("float and half precision in one operator are refused", async () => {
  const half = { ...weights("w", [1]), dataType: DataType.FLOAT16, floatData: [], int32Data: [0x3c00] };
  const parts = { nodes: [node("Mul", ["x", "w"], ["y"])], inputs: [value("x", [2, 3])], initializers: [half] };
  expect(() => readOnnx(modelBytes(parts), { name: "wrong.onnx" })).toThrow(/differ in type; expected one type\./);
  await expect(runModel(modelBytes(parts), new Map([["x", drawn([2, 3])]]))).rejects.toThrow();
});

test("a Constant of two values is refused", () => {
  const bytes = modelBytes({
    nodes: [node("Constant", [], ["c"], { value_float: float(1), value_int: int(1) }), node("Add", ["x", "c"], ["y"])],
  });
  expect(() => readOnnx(bytes, { name: "wrong.onnx" })).toThrow(
    /Constant \(node "constant"\): it has the values value_float and value_int; expected one of them\./,
  );
});

test("a Celu whose alpha is 0 is refused", () => {
  const bytes = modelBytes({ nodes: [node("Celu", ["x"], ["y"], { alpha: float(0) })] });
  expect(() => readOnnx(bytes, { name: "wrong.onnx" })).toThrow(/alpha is 0, which it divides by\./);
});
