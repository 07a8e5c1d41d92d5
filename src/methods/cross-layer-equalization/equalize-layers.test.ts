import { describe, expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { runGraph } from "../../../test/support/gradient-check.ts";
import { createRandom } from "../../../test/support/random.ts";
import { tinyBatch, tinyClassifier } from "../../../test/support/tiny-classifier.ts";
import type { Graph } from "../../ir/graph.ts";
import { scalar, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { kernels } from "../../kernels/index.ts";
import { buildOn } from "../../ops/infer.ts";
import { largestOfRows } from "../../quantizers/qparams.ts";
import { equalizeLayers, layersThatLoseChannels } from "./equalize-layers.ts";

const random = createRandom(3);
/** Rows of very different size. */
const uneven = (...shape: number[]): Tensor => {
  const perRow = shape.slice(1).reduce((a, b) => a * b, 1);
  const values = Array.from({ length: shape[0] * perRow }, (_, i) => 4 ** Math.floor(i / perRow) * random.normal());
  return tensorOf("float64", shape, values);
};

/** Convolution, depthwise convolution with an activation before it, normalization, convolution. */
function separable(activation: string): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float64", shape: [2, 2, 5, 5] });
  const constant = (name: string, ...shape: number[]): string => build.constant(uneven(...shape), name);
  const positive = build.constant(tensorOf("float64", [4], [0.5, 1, 2, 0.25]), "variance");
  const first = build.node("Conv", [x, constant("w1", 4, 2, 3, 3), constant("b1", 4)], {}, "first");
  const active = build.node(activation, [first], {});
  const depthwise = build.node("Conv", [active, constant("w2", 4, 1, 3, 3)], { group: 4 }, "depthwise");
  const statistics = [constant("gamma", 4), constant("beta", 4), constant("mean", 4), positive];
  const normal = build.node("BatchNormalization", [depthwise, ...statistics], { epsilon: 1e-5 });
  const last = build.node("Conv", [build.node("Relu", [normal]), constant("w3", 3, 4, 1, 1)], {}, "last");
  return build.graph([last]);
}

const run = (graph: Graph, x: Tensor): Tensor =>
  runGraph(graph, new Map([[graph.inputs[0], x]]), kernels).get(graph.outputs[0]) ?? scalar("float64", Number.NaN);

const constantOf = (graph: Graph, name: string): Tensor => graph.constants.get(name) ?? scalar("float64", Number.NaN);

describe("cross-layer equalization", () => {
  test("computes the same", () => {
    const graph = separable("Relu");
    const x = random.tensor("float64", [2, 2, 5, 5]);
    const { graph: equalized, pairs } = equalizeLayers(graph);
    expect(pairs).toBe(2);
    expectClose(run(equalized, x), run(graph, x), { widen: { factor: 100, because: "factors are multiplied out" } });
    const tiny = tinyClassifier();
    expectClose(
      run(equalizeLayers(tiny).graph, tinyBatch("float64", 2).images),
      run(tiny, tinyBatch("float64", 2).images),
      { widen: { factor: 100, because: "factors are multiplied out" } },
    );
  });

  test("gives both sides of a channel the same largest weight, the normalization's factor counted", () => {
    const { graph } = equalizeLayers(separable("Relu"));
    const [gamma, variance] = ["gamma", "variance"].map((name) => Array.from(constantOf(graph, name).data, Number));
    const depthwise = largestOfRows(constantOf(graph, "w2"), 0);
    expectClose(largestOfRows(constantOf(graph, "w1"), 0), depthwise, {
      widen: { factor: 1e9, because: "twenty rounds come near" },
    });
    const folded = depthwise.map((value, c) => (value * Math.abs(gamma[c])) / Math.sqrt(variance[c] + 1e-5));
    expectClose(folded, largestOfRows(constantOf(graph, "w3"), 1), {
      widen: { factor: 1e9, because: "twenty rounds come near" },
    });
  });

  test("leaves channels alone that give their offset and nothing else", () => {
    const graph = separable("Relu");
    const dead = tensorOf("float64", [4], [1, 1e-12, 1, 1]);
    const constants = new Map(graph.constants).set("gamma", dead).set("beta", tensorOf("float64", [4], [1, 1, 1, 1]));
    const { graph: equalized } = equalizeLayers({ ...graph, constants });
    expect(constantOf(equalized, "beta").data[1]).toBe(1);
    expect(constantOf(equalized, "beta").data[0]).not.toBe(1);
  });

  test("leaves layers alone between which something does not scale", () => {
    const graph = separable("Sigmoid");
    const { graph: equalized, pairs } = equalizeLayers(graph);
    expect(pairs).toBe(1);
    expect(constantOf(equalized, "w1")).toBe(constantOf(graph, "w1"));
  });

  test("layers lose channels where small ones count as much as large ones", () => {
    const pair = (sizes: readonly number[], counts: readonly number[], bias: number): Graph => {
      const build = buildOn();
      const x = build.input("x", { dtype: "float64", shape: [1, 1, 3, 3] });
      const w1 = build.constant(tensorOf("float64", [3, 1, 1, 1], sizes), "first.weight");
      const b1 = build.constant(tensorOf("float64", [3], [bias, bias, bias]), "first.bias");
      const first = build.node("Relu", [build.node("Conv", [x, w1, b1])]);
      const w2 = build.constant(tensorOf("float64", [1, 3, 1, 1], counts), "second.weight");
      return build.graph([build.node("Conv", [first, w2])]);
    };
    expect(layersThatLoseChannels(pair([1, 1e-4, 1e4], [1, 1e4, 1e-4], 0))).toEqual(["first"]);
    // Even ones; small ones that count little; small weights whose offset is as large as the others.
    expect(layersThatLoseChannels(pair([1, 0.1, 10], [1, 10, 0.1], 0))).toEqual([]);
    expect(layersThatLoseChannels(pair([1, 1e-4, 1e-6], [1, 1, 1], 0))).toEqual([]);
    expect(layersThatLoseChannels(pair([1, 1e-4, 1], [1, 1e4, 1], 1))).toEqual([]);
  });

  test.each([
    ["Gemm", "Gemm"],
    ["MatMul", "Gemm"],
    ["Gemm", "MatMul"],
  ])("%s and %s with a Relu between are a pair", (firstOp, secondOp) => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float64", shape: [3, 4] });
    const weight = build.constant(
      tensorOf(
        "float64",
        [4, 6],
        Array.from({ length: 24 }, (_, i) => 10 ** (i % 6) * random.normal()),
      ),
      "first.weight",
    );
    const bias = firstOp === "Gemm" ? [build.constant(random.tensor("float64", [6]), "first.bias")] : [];
    const first = build.node("Relu", [build.node(firstOp, [x, weight, ...bias], {}, "first")]);
    const second = build.constant(uneven(6, 2), "second.weight");
    const graph = build.graph([build.node(secondOp, [first, second], {}, "second")]);
    const { graph: equalized, pairs } = equalizeLayers(graph);
    const input = random.tensor("float64", [3, 4]);
    expect(pairs).toBe(1);
    expectClose(run(equalized, input), run(graph, input), {
      widen: { factor: 100, because: "factors are multiplied out" },
    });
    const [before, after] = [
      largestOfRows(constantOf(equalized, "first.weight"), 1),
      largestOfRows(constantOf(equalized, "second.weight"), 0),
    ];
    for (const [channel, value] of before.entries()) expect(value / after[channel]).toBeCloseTo(1, 6);
  });

  test("a pool between matrix products goes along other axes than images' and ends a pair", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float64", shape: [1, 4, 4] });
    const product = (value: string, name: string): string =>
      build.node("MatMul", [value, build.constant(uneven(4, 4), name)], {});
    const pooled = build.node("MaxPool", [product(x, "a")], { kernel_shape: [3], pads: [1, 1] });
    expect(equalizeLayers(build.graph([product(pooled, "b")])).pairs).toBe(0);
  });
});
