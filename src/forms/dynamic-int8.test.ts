import { describe, expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { Builder } from "../ir/builder.ts";
import type { Dim, Graph } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { forEachInRows, largestOfRows } from "../quantizers/qparams.ts";
import { dynamicInt8, type MatrixType } from "./dynamic-int8.ts";

interface Case {
  readonly name: string;
  readonly x: readonly Dim[];
  readonly weight: readonly number[];
  readonly rowAxis: number;
  readonly layer: (build: Builder, x: string, w: string) => string;
}

const random = createRandom(3);
const bias = random.tensor("float32", [6]);

const cases: readonly Case[] = [
  {
    name: "MatMul of three axes",
    x: ["batch", 3, 20],
    weight: [20, 6],
    rowAxis: 1,
    layer: (build, x, w) => build.node("Add", [build.node("MatMul", [x, w]), build.constant(bias)]),
  },
  {
    name: "Gemm, transposed, with factors",
    x: ["batch", 20],
    weight: [6, 20],
    rowAxis: 0,
    layer: (build, x, w) => build.node("Gemm", [x, w, build.constant(bias)], { transB: 1, alpha: 0.5, beta: 2 }),
  },
  {
    name: "Gemm",
    x: ["batch", 20],
    weight: [20, 6],
    rowAxis: 1,
    layer: (build, x, w) => build.node("Gemm", [x, w]),
  },
  {
    name: "Conv",
    x: ["batch", 4, 9, 9],
    weight: [6, 4, 3, 3],
    rowAxis: 0,
    layer: (build, x, w) => build.node("Conv", [x, w, build.constant(bias)], { pads: [1, 1, 1, 1], strides: [2, 2] }),
  },
  {
    name: "Conv in groups",
    x: ["batch", 4, 9, 9],
    weight: [6, 2, 3, 3],
    rowAxis: 0,
    layer: (build, x, w) => build.node("Conv", [x, w, build.constant(bias)], { group: 2, auto_pad: "SAME_UPPER" }),
  },
  {
    name: "Conv of one axis",
    x: ["batch", 4, 12],
    weight: [6, 4, 3],
    rowAxis: 0,
    layer: (build, x, w) => build.node("Conv", [x, w], { dilations: [2] }),
  },
];

function graphOf({ x, layer }: Case, weight: Tensor): Graph {
  const build = buildOn();
  const input = build.input("x", { dtype: "float32", shape: x });
  return build.graph([build.node("Relu", [layer(build, input, build.constant(weight, "w.weight"))], {}, "y")]);
}

async function run(graph: Graph, x: Tensor): Promise<readonly number[]> {
  const file = await openDeployed(writeOnnx({ graph, origin: tinyOrigin }, { opset: 17 }), { threads: 1 });
  try {
    return Array.from(numbersOf((await file.run(new Map([["x", x]]))).get("y")!));
  } finally {
    await file.dispose();
  }
}

/** What DynamicQuantizeLinear makes of it, as its definition says. */
function rounded(x: Tensor): Tensor {
  const values = Array.from(numbersOf(x));
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const scale = Math.fround(Math.fround(high - low) / 255);
  const zero = roundHalfToEven(Math.min(255, Math.max(0, -low / scale)));
  const q = values.map((value) => Math.min(255, Math.max(0, roundHalfToEven(value / scale) + zero)));
  return tensorOf(
    "float32",
    x.shape,
    q.map((each) => (each - zero) * scale),
  );
}

function roundedRows(weight: Tensor, axis: number): Tensor {
  const scales = largestOfRows(weight, axis).map((largest) => Math.fround(largest / 127));
  const data = new Float32Array(weight.data.length);
  forEachInRows(weight, axis, (row, w, i) => {
    data[i] = roundHalfToEven(Math.fround(w / scales[row])) * scales[row];
  });
  return { ...weight, data };
}

const types: readonly MatrixType[] = ["int8", "uint8"];

describe("integer products with ranges found at each run", () => {
  test.each(types.flatMap((type) => cases.map((each) => ({ ...each, type }))))(
    "$name, $type: the file computes with the integers",
    async (each) => {
      const weight = random.tensor("float32", each.weight);
      const x = random.tensor("float32", [2, ...each.x.slice(1).map(Number)]);
      const float = graphOf(each, weight);
      const made = dynamicInt8(float, each.type);
      expect(made.nodes.map(({ op }) => op)).toContain(each.weight.length === 2 ? "MatMulInteger" : "ConvInteger");
      const expected = await run(graphOf(each, roundedRows(weight, each.rowAxis)), rounded(x));
      const actual = await run(made, x);
      const largest = Math.max(...expected.map(Math.abs));
      expect(Math.max(...actual.map((value, i) => Math.abs(value - expected[i])))).toBeLessThan(1e-5 * largest);
    },
  );

  test("layers of one input share its integers, and of one weight its constant", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [2, 8] });
    const w = build.constant(random.tensor("float32", [8, 8]), "w");
    const products = [build.node("MatMul", [x, w]), build.node("MatMul", [x, w])];
    const made = dynamicInt8(build.graph([build.node("Sub", products, {}, "y")]), "int8");
    expect(made.nodes.filter(({ op }) => op === "DynamicQuantizeLinear")).toHaveLength(1);
    expect(
      [...made.constants.values()].filter(({ dtype, shape }) => dtype === "int8" && shape.length === 2),
    ).toHaveLength(1);
  });

  test("depthwise convolutions, and weights that are computed, stay as they are", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [1, 4, 8, 8] });
    const w = build.input("w", { dtype: "float32", shape: [8, 8] });
    const depthwise = build.node("Conv", [x, build.constant(random.tensor("float32", [4, 1, 3, 3]))], {
      group: 4,
      pads: [1, 1, 1, 1],
    });
    const graph = build.graph([build.node("MatMul", [depthwise, w], {}, "y")]);
    expect(dynamicInt8(graph, "int8")).toBe(graph);
  });

  test("a normalization behind a convolution folds into it", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [1, 4, 8, 8] });
    const conv = build.node("Conv", [x, build.constant(random.tensor("float32", [6, 4, 1, 1]))]);
    const statistics = [1, 0, 0, 1].map((least) =>
      build.constant(random.uniformTensor("float32", [6], least, least + 1)),
    );
    const float = build.graph([build.node("BatchNormalization", [conv, ...statistics], {}, "y")]);
    const made = dynamicInt8(float, "int8");
    expect(made.nodes.map(({ op }) => op)).not.toContain("BatchNormalization");
    const given = random.tensor("float32", [1, 4, 8, 8]);
    const [a, b] = [await run(float, given), await run(made, given)];
    const noise = a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0);
    expect(10 * Math.log10(a.reduce((sum, value) => sum + value ** 2, 0) / noise)).toBeGreaterThan(35);
  });

  test("what is written is read back as the same layers", () => {
    const [{ x, layer, weight }] = cases;
    const made = dynamicInt8(graphOf({ ...cases[0], x, layer }, random.tensor("float32", weight)), "int8");
    const { graph } = readOnnx(writeOnnx({ graph: made, origin: tinyOrigin }, { opset: 13 }), { name: "made" });
    expect(graph.values.get("y")?.shape).toEqual(["batch", 3, 6]);
  });
});
