import { describe, expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { type Folded, foldQuantizers } from "../quantizers/fold.ts";
import { insertQuantizers } from "../quantizers/insert.ts";
import { weightQparams } from "../quantizers/observe-weights.ts";
import { type QuantizeOptions, quantizeOptions } from "../quantizers/quantize-options.ts";
import { findSites } from "../quantizers/sites.ts";
import { bitsPerWeight, exportMatMulNBits } from "./matmul-nbits.ts";
import type { Exported } from "./qdq.ts";

const random = createRandom(1);
const x = random.uniformTensor("float32", [2, 3, 172], -1, 1);

/** x · W, with 5 full groups of 32 inputs and one of 12. */
function productOf(weight: Tensor): Graph {
  const build = buildOn();
  const input = build.input("x", { dtype: "float32", shape: ["batch", 3, 172] });
  return build.graph([build.node("MatMul", [input, build.constant(weight, "w.weight")])]);
}

const exportOf = (graph: Graph, given: Partial<QuantizeOptions>): Exported =>
  exportMatMulNBits(foldedOf(graph, given), tinyOrigin, "packed");

function foldedOf(graph: Graph, given: Partial<QuantizeOptions>): Folded {
  const sites = findSites(graph, quantizeOptions.parse({ activations: "float", groupSize: 32, ...given }));
  expect(sites.activations).toEqual([]);
  const qparams = new Map(
    sites.weights.map((site) => [site.name, weightQparams(graph.constants.get(site.value)!, site, "min-max")]),
  );
  return foldQuantizers(insertQuantizers(graph, sites, qparams), "float");
}

async function run({ model, opset }: Exported): Promise<Float32Array> {
  const file = await openDeployed(writeOnnx(model, { opset }), { threads: 1 });
  try {
    const outputs = await file.run(new Map([["x", x]]));
    return outputs.values().next().value!.data as Float32Array;
  } finally {
    await file.dispose();
  }
}

/** Each group of a column rounded to nearest, on a grid from its least to its largest number and 0, or around 0. */
function roundedToNearest(weight: Tensor, bits: number, symmetric: boolean): Float64Array {
  const [inputs, rows] = weight.shape;
  const values = numbersOf(weight);
  const result = new Float64Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let start = 0; start < inputs; start += 32) {
      const group = Array.from({ length: Math.min(32, inputs - start) }, (_, i) => (start + i) * rows + row);
      const [low, high] = [Math.min(0, ...group.map((i) => values[i])), Math.max(0, ...group.map((i) => values[i]))];
      const most = symmetric ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
      const scale = Math.fround(symmetric ? Math.max(-low, high) / most : (high - low) / most);
      const zeroPoint = symmetric ? 0 : roundHalfToEven(-low / scale);
      for (const i of group) {
        const q = roundHalfToEven(Math.fround(values[i] / scale)) + zeroPoint;
        result[i] = (Math.min(most, Math.max(symmetric ? -most : 0, q)) - zeroPoint) * scale;
      }
    }
  return result;
}

function product(weight: Float64Array, rows: number): Float64Array {
  const result = new Float64Array(6 * rows);
  const values = numbersOf(x);
  for (let sample = 0; sample < 6; sample++)
    for (let row = 0; row < rows; row++)
      for (let i = 0; i < 172; i++) result[sample * rows + row] += values[sample * 172 + i] * weight[i * rows + row];
  return result;
}

describe.each([2, 3, 4, 5, 8])("%i bits", (weights) => {
  test.each([true, false])("asymmetric: %s, in ONNX Runtime as the grid says", async (asymmetricWeights) => {
    const weight = random.uniformTensor("float32", [172, 10], -0.3, 0.7);
    const exported = exportOf(productOf(weight), { weights, asymmetricWeights });
    expect(exported.model.graph.nodes.map(({ op }) => op)).toEqual(["com.microsoft::MatMulNBits"]);
    const { attributes, inputs } = exported.model.graph.nodes[0];
    expect(attributes).toEqual({ K: 172, N: 10, bits: weights <= 2 ? 2 : weights <= 4 ? 4 : 8, block_size: 32 });
    expect(inputs).toHaveLength(asymmetricWeights ? 4 : 3);
    const expected = product(roundedToNearest(weight, weights, !asymmetricWeights), 10);
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const actual = await run(exported);
    expected.forEach((value, i) => {
      expect(Math.abs(actual[i] - value) / largest).toBeLessThan(1e-5);
    });
    const { graph } = readOnnx(writeOnnx(exported.model, { opset: exported.opset }), { name: "written" });
    const [again] = (await runGraph(createReferenceEngine(), graph, new Map([["x", x]]))).values();
    numbersOf(again).forEach((value, i) => {
      expect(Math.abs(actual[i] - value) / largest).toBeLessThan(1e-5);
    });
  });
});

test("a layer whose input is quantized, and one with a scale per row of many inputs, are no MatMulNBits", () => {
  const graph = productOf(random.uniformTensor("float32", [172, 10], -1, 1));
  const quantizedInput = (graphOf: Graph): Graph => {
    const build = buildOn(graphOf);
    const input = build.node("FakeQuantize", [
      "x",
      build.constant(tensorOf("float32", [], [0.01])),
      build.constant(tensorOf("float32", [], [128])),
      build.constant(tensorOf("float32", [], [0])),
      build.constant(tensorOf("float32", [], [255])),
    ]);
    return build.graph([build.node("MatMul", [input, "w.weight"])]);
  };
  expect(exportOf(quantizedInput(graph), { weights: 4 }).model.graph.nodes.at(-1)?.op).toBe("MatMul");
  const long = productOf(random.uniformTensor("float32", [172, 10], -1, 1));
  const build = buildOn();
  const wide = build.input("x", { dtype: "float32", shape: ["batch", 300] });
  const weight = build.constant(random.uniformTensor("float32", [300, 10], -1, 1), "w.weight");
  const whole = build.graph([build.node("MatMul", [wide, weight])]);
  const opsOf = (given: Graph) =>
    exportOf(given, { weights: 4, groupSize: "whole" })
      .model.graph.nodes.map(({ op }) => op)
      .filter((op) => op !== "Cast" && op !== "Sub");
  expect(opsOf(whole)).toEqual(["Mul", "MatMul"]);
  expect(opsOf(long)).toEqual(["com.microsoft::MatMulNBits"]);
});

test("layers that share a weight share its bytes", () => {
  const build = buildOn(productOf(random.uniformTensor("float32", [172, 172], -1, 1)));
  const [first] = build.graph([]).nodes;
  const graph = build.graph([build.node("MatMul", [first.outputs[0], "w.weight"])]);
  const { nodes, constants } = exportOf(graph, { weights: 4 }).model.graph;
  expect(nodes[0].inputs.slice(1)).toEqual(nodes[1].inputs.slice(1));
  expect(constants.size).toBe(3);
});

test.each([
  [2, true],
  [3, true],
  [4, false],
  [8, true],
])("bits of a weight are those that the file holds: %i bits, with zero points: %s", (weights, asymmetricWeights) => {
  const graph = productOf(random.tensor("float32", [172, 24]));
  const options = { weights, asymmetricWeights };
  const { constants } = exportOf(graph, options).model.graph;
  const held = [...constants].filter(([name]) => name.startsWith("w.weight_"));
  expect(held).toHaveLength(asymmetricWeights ? 3 : 2);
  const bytes = held.reduce((sum, [, { data }]) => sum + data.byteLength, 0);
  expect(bitsPerWeight(foldedOf(graph, options), 32)).toBe((8 * bytes) / (172 * 24));
});
