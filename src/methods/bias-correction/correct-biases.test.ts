import { describe, expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { runGraph } from "../../../test/support/gradient-check.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import type { Graph } from "../../ir/graph.ts";
import { numbersOf, scalar, type Tensor } from "../../ir/tensor.ts";
import { kernels } from "../../kernels/index.ts";
import { correctBiases } from "./correct-biases.ts";

const context = { engine: createReferenceEngine(), seed: 0 };
const batches = [1, 2].map((seed) => new Map([["input", tinyBatch("float64", 8, seed).images]]));
async function* given(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  yield* batches;
}

/** Each channel's mean of a value [samples, channels, …] over both batches. */
function meansOf(graph: Graph, value: string): number[] {
  const sums: number[] = [];
  for (const inputs of batches) {
    const { shape, ...found } = runGraph(graph, inputs, kernels).get(value) ?? scalar("float64", Number.NaN);
    const inner = shape.slice(2).reduce((a, b) => a * b, 1);
    numbersOf({ shape, ...found }).forEach((x, i) => {
      const channel = Math.floor(i / inner) % shape[1];
      sums[channel] = (sums[channel] ?? 0) + x / (batches.length * shape[0] * inner);
    });
  }
  return sums;
}

const outputOf = (graph: Graph, name: string): string =>
  graph.nodes.find((node) => node.name === name)?.outputs[0] ?? "";

describe("bias correction", () => {
  const float = tinyClassifier();
  const quantized = quantizeTiny(float, { weights: 2, activations: 3 });

  test.each(["bn1", "bn2", "logits"])("the mean of each channel of %s is the float model's", async (name) => {
    const corrected = await correctBiases(quantized, float, given, context);
    const target = meansOf(float, outputOf(float, name));
    const before = meansOf(quantized, outputOf(quantized, name));
    expect(Math.max(...before.map((mean, c) => Math.abs(mean - target[c])))).toBeGreaterThan(0.01);
    expectClose(meansOf(corrected, outputOf(corrected, name)), target, {
      widen: { factor: 100, because: "means are sums of a hundred terms that cancel" },
    });
  });

  test("a layer without a bias gets one; weights stay", async () => {
    const bare = (graph: Graph): Graph => ({
      ...graph,
      nodes: graph.nodes.map((node) => (node.name === "logits" ? { ...node, inputs: node.inputs.slice(0, 2) } : node)),
    });
    const corrected = await correctBiases(bare(quantized), bare(float), given, context);
    expectClose(meansOf(corrected, outputOf(corrected, "logits")), meansOf(bare(float), outputOf(float, "logits")), {
      widen: { factor: 100, because: "means are sums of a hundred terms that cancel" },
    });
    expect(corrected.constants.get("conv1.weight")).toBe(quantized.constants.get("conv1.weight"));
  });
});
