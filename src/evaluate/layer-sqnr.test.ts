import { expect, test } from "vitest";
import { runGraph } from "../../test/support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { layerSqnr } from "./layer-sqnr.ts";

test("layers have the SQNR of the values named, those that the float model lacks none", async () => {
  const engine = createReferenceEngine();
  const float = tinyClassifier();
  const quantized = quantizeTiny(float, { weights: 4 });
  const outputs = new Map([
    ["conv1", float.nodes.find(({ name }) => name === "bn1")?.outputs[0] ?? ""],
    ["linear", "logits"],
    ["missing", "no such value"],
  ]);
  const inputs = new Map([["input", tinyBatch("float64", 4).images]]);
  const found = await layerSqnr(float, quantized, outputs, inputs, { engine, seed: 0 });
  expect([...found.keys()]).toEqual(["conv1", "linear"]);
  const [a, b] = await Promise.all(
    [float, quantized].map(async (graph) => numbersOf((await runGraph(engine, graph, inputs)).get("logits") as Tensor)),
  );
  let [signal, noise] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    signal += a[i] ** 2;
    noise += (a[i] - b[i]) ** 2;
  }
  expect(found.get("linear")).toBeCloseTo(10 * Math.log10(signal / noise), 9);
});
