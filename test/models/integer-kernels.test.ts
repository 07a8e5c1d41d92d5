// Placement runtime: ONNX Runtime's optimizer makes integer kernels of what is quantized, and nothing is quantized without use.
import { describe, expect, test } from "vitest";
import type { Builder } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { sizeOf, tensorOf } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { findSites } from "../../src/quantizers/sites.ts";
import { exportQuantized } from "../support/export-quantized.ts";
import { optimizedNodes } from "../support/optimized-graph.ts";
import { createRandom } from "../support/random.ts";

const random = createRandom(3);

const exported = (graph: Graph) => exportQuantized(graph, { placement: "runtime" });

const image = { dtype: "float32", shape: ["N", 4, 8, 8] } as const;
const conv = (build: Builder, x: string, channels = 4): string =>
  build.node("Conv", [x, build.constant(random.tensor("float32", [4, channels, 1, 1]))]);

/** Convolution, what `middle` adds, and a convolution whose Relu a Tanh reads. */
function betweenConvolutions(middle: (build: Builder, y: string) => string): Graph {
  const build = buildOn();
  const y = middle(build, conv(build, build.input("x", image)));
  const channels = Number(build.type(y).shape[1]);
  return build.graph([build.node("Tanh", [build.node("Relu", [conv(build, y, channels)])])]);
}

const kernelsOf = async (graph: Graph): Promise<readonly string[]> =>
  (await optimizedNodes((await exported(graph)).bytes)).map(({ opType }) => opType).filter((op) => op !== "Transpose");

type Middle = (build: Builder, y: string) => string;
const computing: Readonly<Record<string, Middle>> = {
  Add: (b, y) => b.node("Add", [y, conv(b, y)]),
  Mul: (b, y) => b.node("Mul", [y, b.node("Sigmoid", [y])]),
  Concat: (b, y) => b.node("Concat", [y, conv(b, y)], { axis: 1 }),
  GlobalAveragePool: (b, y) => b.node("GlobalAveragePool", [y]),
  AveragePool: (b, y) => b.node("AveragePool", [y], { kernel_shape: [2, 2] }),
  Sigmoid: (b, y) => b.node("Sigmoid", [y]),
  LeakyRelu: (b, y) => b.node("LeakyRelu", [y], { alpha: 0.1 }),
};
const flat: Middle = (b, y) => b.node("Reshape", [y, b.ints([0, 4, 64])]);
const moving: Readonly<Record<string, Middle>> = {
  MaxPool: (b, y) => b.node("MaxPool", [y], { kernel_shape: [2, 2] }),
  Reshape: (b, y) => b.node("Reshape", [y, b.ints([0, 4, 4, 16])]),
  Flatten: (b, y) => b.node("Reshape", [b.node("Flatten", [y], { axis: 1 }), b.ints([-1, 4, 8, 8])]),
  Unsqueeze: (b, y) => b.node("Unsqueeze", [flat(b, y), b.ints([2])]),
  Squeeze: (b, y) => b.node("Squeeze", [b.node("Unsqueeze", [y, b.ints([2])]), b.ints([2])]),
  Slice: (b, y) => b.node("Slice", [y, b.ints([1]), b.ints([5]), b.ints([2])]),
  Split: (b, y) => b.node("Concat", b.nodes("Split", [y, b.ints([2, 2])], [true, true], { axis: 1 }), { axis: 1 }),
  Identity: (b, y) => b.node("Identity", [y]),
  DepthToSpace: (b, y) => b.node("DepthToSpace", [y], { blocksize: 2 }),
  Gather: (b, y) => b.node("Gather", [y, b.ints([3, 0])], { axis: 1 }),
  Expand: (b, y) => b.node("Expand", [b.node("GlobalAveragePool", [y]), b.ints([1, 1, 3, 3])]),
  Tile: (b, y) => b.node("Tile", [y, b.ints([1, 1, 2, 1])]),
  Resize: (b, y) =>
    b.node("Resize", [y, undefined, b.constant(tensorOf("float32", [4], [1, 1, 2, 2]))], {
      mode: "nearest",
      coordinate_transformation_mode: "asymmetric",
      nearest_mode: "floor",
    }),
};

describe("between convolutions", () => {
  test.each(Object.entries({ ...computing, ...moving }))("%s computes or moves integers", async (_, middle) => {
    const kernels = await kernelsOf(betweenConvolutions(middle));
    expect(kernels.filter((op) => op === "DequantizeLinear" || op === "QuantizeLinear")).toEqual([
      "QuantizeLinear",
      "DequantizeLinear",
    ]);
    expect(kernels).not.toContain("Conv");
  });

  test.each([
    ["Tanh", (b, y) => b.node("Tanh", [y])],
    ["a sum with what a Tanh gives", (b, y) => b.node("Add", [y, b.node("Tanh", [y])])],
    [
      "linear interpolation",
      (b, y) =>
        b.node("Resize", [y, undefined, b.constant(tensorOf("float32", [4], [1, 1, 2, 2]))], { mode: "linear" }),
    ],
  ] as const satisfies readonly (readonly [string, Middle])[])("%s is computed in float", async (_, middle) => {
    const kernels = await kernelsOf(betweenConvolutions(middle));
    expect(kernels.filter((op) => op.startsWith("QLinear"))).toEqual(["QLinearConv", "QLinearConv"]);
  });

  test("a Split moves integers also where one part is read in float", async () => {
    const kernels = await kernelsOf(
      betweenConvolutions((b, y) => {
        const [head, tail] = b.nodes("Split", [y, b.ints([2, 2])], [true, true], { axis: 1 });
        return b.node("Mul", [conv(b, head, 2), b.node("ReduceMax", [b.node("Tanh", [tail]), b.ints([1])])]);
      }),
    );
    expect(kernels.slice(0, 3)).toEqual(["QuantizeLinear", "QLinearConv", "Split"]);
  });

  test("a Pad of zeros is part of the convolution behind it", async () => {
    const kernels = await kernelsOf(
      betweenConvolutions((b, y) => b.node("Pad", [y, b.ints([0, 0, 1, 1, 0, 0, 1, 1])])),
    );
    expect(kernels).toEqual(["QuantizeLinear", "QLinearConv", "QLinearConv", "DequantizeLinear", "Tanh"]);
  });
});

describe("products of matrices", () => {
  const weight = (build: Builder, shape: readonly number[]): string => build.constant(random.tensor("float32", shape));

  test.each([0, 1])("Gemms are integer kernels, transB %i, whatever follows them", async (transB) => {
    const build = buildOn();
    const gemm = (x: string, from: number, to: number): string =>
      build.node("Gemm", [x, weight(build, transB ? [to, from] : [from, to]), weight(build, [to])], { transB });
    const x = build.input("x", { dtype: "float32", shape: ["N", 16] });
    const hidden = build.node("Relu", [gemm(x, 16, 32)]);
    const kernels = await kernelsOf(build.graph([gemm(build.node("Tanh", [gemm(hidden, 32, 16)]), 16, 8)]));
    expect(kernels).toEqual(["QuantizeLinear", "QGemm", "QGemm", "Tanh", "QuantizeLinear", "QGemm"]);
  });

  test("an encoder layer computes its products with integers and all else in float", async () => {
    const [length, width, heads] = [6, 8, 2];
    const build = buildOn();
    const linear = (x: string, from: number, to: number): string =>
      build.node("Add", [build.node("MatMul", [x, weight(build, [from, to])]), weight(build, [to])]);
    const norm = (x: string): string =>
      build.node("LayerNormalization", [x, weight(build, [width]), weight(build, [width])], { axis: -1 });
    const split = (x: string, perm: readonly number[]): string =>
      build.node("Transpose", [build.node("Reshape", [x, build.ints([0, length, heads, width / heads])])], { perm });
    const x = norm(build.input("x", { dtype: "float32", shape: ["N", length, width] }));
    const [q, k, v] = [0, 1, 2].map((i) => split(linear(x, width, width), i === 1 ? [0, 2, 3, 1] : [0, 2, 1, 3]));
    const scores = build.node("Add", [build.node("MatMul", [q, k]), weight(build, [1, 1, 1, length])]);
    const mixed = build.node("MatMul", [build.node("Softmax", [scores], { axis: -1 }), v]);
    const joined = build.node("Reshape", [
      build.node("Transpose", [mixed], { perm: [0, 2, 1, 3] }),
      build.ints([0, length, width]),
    ]);
    const attended = norm(build.node("Add", [linear(joined, width, width), x]));
    const hidden = linear(attended, width, 2 * width);
    const gate = build.node("Add", [
      build.node("Erf", [build.node("Div", [hidden, build.scalar(Math.SQRT2)])]),
      build.scalar(1),
    ]);
    const gelu = build.node("Mul", [build.node("Mul", [hidden, gate]), build.scalar(0.5)]);
    const output = norm(build.node("Add", [linear(gelu, 2 * width, width), attended]));
    const kernels = await kernelsOf(build.graph([output]));
    const count = (op: string): number => kernels.filter((kernel) => kernel === op).length;
    expect(["MatMulIntegerToFloat", "QuantizeLinear", "DequantizeLinear", "BiasGelu"].map(count)).toEqual([6, 4, 0, 1]);
  });
});

describe("what is carried to an output", () => {
  test("stays float, as the output does", async () => {
    const build = buildOn();
    const x = build.input("x", image);
    const features = build.node("Relu", [conv(build, x)]);
    const boxes = build.node("Reshape", [conv(build, features), build.ints([0, 4, 64])]);
    const scores = build.node("Reshape", [conv(build, features), build.ints([0, 4, 64])]);
    const all = build.node("Transpose", [build.node("Concat", [boxes, scores], { axis: 1 })], { perm: [0, 2, 1] });
    const sites = findSites(build.graph([all, features]), quantizeOptions.parse({ placement: "runtime" }));
    expect(sites.activations.map(({ value }) => value)).toEqual([x, features]);
  });

  test("is quantized where something computes with it", () => {
    const build = buildOn();
    const head = conv(build, build.input("x", image));
    const scores = build.node("Sigmoid", [build.node("Reshape", [head, build.ints([0, 4, 64])])]);
    const sites = findSites(build.graph([scores]), quantizeOptions.parse({ placement: "runtime" }));
    expect(sites.activations.map(({ value }) => value)).toEqual(["x", head]);
  });
});

test("zero points of Gemms cost a byte for each row, once for each number of rows", async () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 8] });
  const gemms = [0, 1, 2].reduce(
    (y) => build.node("Gemm", [y, build.constant(random.tensor("float32", [8, 8]))], { transB: 1 }),
    x,
  );
  const { graph } = readOnnx((await exported(build.graph([gemms]))).bytes, { name: "gemms.onnx" });
  const zeros = [...graph.constants.values()].filter(({ dtype, shape }) => dtype === "int8" && sizeOf(shape) === 8);
  expect(zeros).toHaveLength(1);
});
