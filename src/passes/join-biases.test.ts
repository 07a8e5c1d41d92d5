import { describe, expect, test } from "vitest";
import { sqnr } from "../../test/support/close.ts";
import { exportQuantized, origin } from "../../test/support/export-quantized.ts";
import { createRandom } from "../../test/support/random.ts";
import { runModel } from "../../test/support/run-model.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { type Tensor, toNumbers } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { joinBiases } from "./join-biases.ts";

const random = createRandom(31);

interface Layer {
  readonly op: string;
  readonly x: readonly (number | string)[];
  readonly w: readonly number[];
  readonly attributes?: Node["attributes"];
}

const layers: Readonly<Record<string, Layer>> = {
  conv: { op: "Conv", x: [4, 3, 6, 5], w: [8, 3, 3, 3] },
  "conv of open sizes": { op: "Conv", x: ["n", 3, "h", "w"], w: [8, 3, 3, 3] },
  "conv of one axis": { op: "Conv", x: [4, 3, 6], w: [8, 3, 2] },
  "transposed conv in groups": { op: "ConvTranspose", x: [4, 4, 3, 3], w: [4, 4, 2, 2], attributes: { group: 2 } },
  gemm: { op: "Gemm", x: [4, 6], w: [6, 8], attributes: { alpha: 0.5, beta: 3 } },
};

/** x → layer → Add of a constant of this shape → y, and what else is read. */
function graphOf({ op, x, w, attributes = {} }: Layer, bias: readonly number[], isFirst = false): Graph {
  const build = buildOn();
  const given = build.input("x", { dtype: "float32", shape: x });
  const product = build.node(op, [given, build.constant(random.tensor("float32", w), "w")], attributes, "product");
  const added = build.constant(random.tensor("float32", bias), "b");
  return build.graph([build.node("Add", isFirst ? [added, product] : [product, added], {}, "y")]);
}

const joined = [
  ["conv", [8, 1, 1]],
  ["conv", [1, 8, 1, 1]],
  ["conv", []],
  ["conv", [1, 1]],
  ["conv of open sizes", [8, 1, 1]],
  ["conv of one axis", [8, 1]],
  ["transposed conv in groups", [8, 1, 1]],
  ["gemm", [8]],
  ["gemm", [1, 8]],
  ["gemm", [1]],
] as const;

describe.each([true, false])("constant first: %s", (isFirst) => {
  test.each(joined)("%s with %j added has it as its bias", async (layer, shape) => {
    const graph = graphOf(layers[layer], shape, isFirst);
    const result = joinBiases(graph);
    expect(result.nodes.map(({ op, inputs }) => [op, inputs.length])).toEqual([[layers[layer].op, 3]]);
    const x = layers[layer].x.map((size) => (typeof size === "number" ? size : 5));
    const inputs = new Map([["x", random.tensor("float32", x)]]);
    const run = async (given: Graph): Promise<readonly number[]> =>
      toNumbers((await runModel(writeOnnx({ graph: given, origin }, { opset: 20 }), inputs)).get("y") as Tensor);
    const [actual, expected] = [await run(result), await run(graph)];
    expect(sqnr(actual, expected)).toBeGreaterThan(100);
  });
});

const kept = [
  ["conv", [5]],
  ["conv", [8, 6, 5]],
  ["conv", [4, 1, 1, 1]],
  ["conv", [1, 1, 8, 1, 1]],
  ["gemm", [4, 1]],
  ["gemm", [4, 8]],
  ["gemm", [1, 1, 8]],
] as const;

test.each(kept)("%s with %j added stays as it is", (layer, shape) => {
  const { x, ...other } = layers[layer];
  const sized = layer === "conv" ? [4, 3, 8, 7] : x;
  const graph = graphOf({ ...other, x: sized }, shape);
  expect(joinBiases(graph)).toBe(graph);
});

test("what others read, what is an output and what has a bias stay as they are", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [2, 3, 4, 4] });
  const w = build.constant(random.tensor("float32", [8, 3, 1, 1]), "w");
  const b = build.constant(random.tensor("float32", [8, 1, 1]), "b");
  const own = build.constant(random.tensor("float32", [8]), "own");
  const [twice, given, biased] = [
    build.node("Conv", [x, w], {}, "twice"),
    build.node("Conv", [x, w], {}, "given"),
    build.node("Conv", [x, w, own], {}, "biased"),
  ];
  const sums = [twice, given, biased].map((value) => build.node("Add", [value, b]));
  const graph = build.graph([...sums, given, build.node("Add", [twice, twice])]);
  expect(joinBiases(graph)).toBe(graph);
});

test("integer kernels compute a convolution and what is added to it in one", async () => {
  const { graph } = await exportQuantized(graphOf(layers["conv"], [8, 1, 1]), { placement: "runtime" });
  expect(graph.nodes.filter(({ op }) => op === "Add")).toEqual([]);
});
