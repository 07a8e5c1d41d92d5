import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { foldQuantizers } from "./fold.ts";

const engine = createReferenceEngine();
const { images } = tinyBatch("float64", 16);

async function logits(graph: Graph): Promise<Tensor> {
  const outputs = await (await engine.compile(graph))
    .bind(await engine.variables(new Map()))
    .run(new Map([["input", images]]));
  return outputs.get("logits") as Tensor;
}

/** Normalization factors of every kind: positive, negative, zero and tiny. */
function withHardFactors(graph: Graph): Graph {
  const constants = new Map(graph.constants);
  constants.set("bn1.weight", tensorOf("float64", [6], [1, -1, 0, 1e-9, -0.5, 2]));
  return { ...graph, constants };
}

describe("folding", () => {
  test.each([
    [8, 8],
    [4, 8],
    [4, 4],
    [2, 3],
  ])(
    "W%iA%i: normalization folded into integers computes what the fake-quantized graph computes",
    async (weights, activations) => {
      const model = quantizeTiny(withHardFactors(tinyClassifier()), { weights, activations });
      const { graph, layers } = foldQuantizers(model, "float");
      expectClose(await logits(graph), await logits(model), {
        widen: { factor: 10, because: "the factor is applied to scales instead of sums" },
      });
      expect(layers.map(({ name, bits }) => [name, bits])).toEqual(
        ["conv1", "conv2", "linear"].map((name) => [name, weights]),
      );
      expect(graph.nodes.some(({ op }) => op === "BatchNormalization")).toBe(false);
      for (const { integers, zeroPoint } of layers) {
        const largest = Math.max(...Array.from(graph.constants.get(integers)?.data as Int8Array, Math.abs));
        expect(largest).toBeLessThanOrEqual(zeroPoint === "" ? 2 ** (weights - 1) - 1 : 2 ** weights - 1);
      }
    },
  );

  test("a negative factor flips the signs of its row's integers", () => {
    const model = quantizeTiny(tinyClassifier(), { weights: 8 });
    const plain = foldQuantizers(model, "float").graph.constants.get("conv1.weight_integers")?.data as Int8Array;
    const flipped = foldQuantizers(withHardFactors(model), "float").graph.constants.get("conv1.weight_integers")
      ?.data as Int8Array;
    expect([...flipped.slice(27, 54)]).toEqual([...plain.slice(27, 54)].map((q) => -q + 0));
    expect([...flipped.slice(54, 81)].every((q) => q === 0)).toBe(true);
  });

  test("normalization along another axis than the layer's rows stays a node", async () => {
    const build = buildOn();
    const vector = (name: string, values: readonly number[]): string =>
      build.constant(tensorOf("float64", [values.length], values), name);
    const x = build.input("input", { dtype: "float64", shape: ["N", 2, 3] });
    const weight = build.constant(tensorOf("float64", [3, 2], [1, -0.5, 0.3, 0.8, -1, 0.2]), "linear.weight");
    const parameters = [vector("g", [2, -1]), vector("b", [0.5, 0]), vector("m", [0.1, -0.3]), vector("v", [1, 4])];
    const product = build.node("MatMul", [x, weight], {}, "linear");
    const model = quantizeTiny(build.graph([build.node("BatchNormalization", [product, ...parameters], {}, "logits")]));
    const { graph } = foldQuantizers(model, "float");
    const values = Array.from({ length: 24 }, (_, i) => Math.sin(i));
    const inputs = new Map([["input", tensorOf("float64", [4, 2, 3], values)]]);
    const [folded, expected] = [await runGraph(engine, graph, inputs), await runGraph(engine, model, inputs)];
    expectClose(folded.get("logits") as Tensor, expected.get("logits") as Tensor);
  });

  test.each(["float", "int32"] as const)(
    "a weight that several layers share is stored once, biases %s, where their normalizations are alike",
    (biases) => {
      const build = buildOn();
      const vector = (name: string, values: readonly number[]): string =>
        build.constant(tensorOf("float64", [values.length], values), name);
      const x = build.input("input", { dtype: "float64", shape: ["N", 2] });
      const weight = build.constant(tensorOf("float64", [2, 2], [1, -0.5, 0.3, 0.8]), "shared.weight");
      const layer = (value: string, name: string): string => build.node("Gemm", [value, weight], {}, name);
      const norm = [vector("g", [2, -1]), vector("b", [0.5, 0]), vector("m", [0.1, -0.3]), vector("v", [1, 4])];
      const normalized = build.node("BatchNormalization", [layer(layer(x, "first"), "second"), ...norm], {}, "logits");
      const { graph, layers } = foldQuantizers(quantizeTiny(build.graph([normalized, layer(x, "third")])), biases);
      expect(layers.map(({ node, integers }) => [node, integers])).toEqual([
        ["first", "shared.weight_integers"],
        ["second", "second.weight_integers"],
        ["third", "shared.weight_integers"],
      ]);
      expect(
        graph.nodes.filter(({ op }) => op === "DequantizeLinear" || op === "Gemm").map(({ name }) => name),
      ).toEqual(
        expect.arrayContaining(["shared.weight_dequantize", "first", "second.weight_dequantize", "second", "third"]),
      );
      expect([...graph.constants].filter(([, { dtype }]) => dtype === "int8")).toHaveLength(2);
    },
  );

  test("int32 biases are within half a step of input·weight", async () => {
    const model = quantizeTiny(tinyClassifier(), { placement: "runtime" });
    const { graph } = foldQuantizers(model, "int32");
    expect(graph.nodes.filter(({ op }) => op === "Add").map(({ name }) => name)).toEqual(["skip"]);
    expect(graph.constants.get("conv1.bias_integers")?.dtype).toBe("int32");
    // 8-bit activations after each layer absorb the biases' rounding, but for values at a rounding boundary.
    const [folded, expected] = [await logits(graph), await logits(model)];
    const worst = Math.max(
      ...Array.from(folded.data as Float64Array, (value, i) => Math.abs(value - (expected.data as Float64Array)[i])),
    );
    expect(worst).toBeLessThan(0.1);
  });

  test("the int32 bias of a row of zeros is as exact as others", () => {
    const { graph: folded } = foldQuantizers(
      quantizeTiny(withHardFactors(tinyClassifier()), { placement: "runtime" }),
      "int32",
    );
    const bias = folded.constants.get("conv1.bias_integers")?.data as Int32Array;
    const scale = folded.constants.get("conv1.bias_scale")?.data as Float64Array;
    const beta = tinyClassifier().constants.get("bn1.bias")?.data as Float64Array;
    expect(bias[2] * scale[2]).toBeCloseTo(beta[2], 8);
  });

  test("a bias beyond int32 at scale input·weight makes that row's weight scale coarser", () => {
    const graph = withHardFactors(tinyClassifier());
    const constants = new Map(graph.constants).set("bn1.bias", tensorOf("float64", [6], [0, 0, 0, 100, 0, 0]));
    const { graph: folded } = foldQuantizers(quantizeTiny({ ...graph, constants }, { placement: "runtime" }), "int32");
    const bias = folded.constants.get("conv1.bias_integers")?.data as Int32Array;
    const scale = folded.constants.get("conv1.bias_scale")?.data as Float64Array;
    expect(Math.abs(bias[3])).toBeLessThanOrEqual(2 ** 30);
    expect(bias[3] * scale[3]).toBeCloseTo(100, 3);
  });
});
