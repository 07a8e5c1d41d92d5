import { expect, test } from "vitest";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import type { Engine } from "../engines/engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { layerSqnr } from "./layer-sqnr.ts";

test("both graphs run batch by batch, so that what the layers give is held for one batch alone", async () => {
  const runs: string[] = [];
  const inner = createReferenceEngine();
  const engine: Engine = {
    ...inner,
    compile: async (graph, options) => {
      const executable = await inner.compile(graph, options);
      const which = graph.nodes.some(({ op }) => op === "FakeQuantize") ? "quantized" : "float";
      return {
        ...executable,
        bind: (variables) => {
          const program = executable.bind(variables);
          const run: typeof program.run = (inputs, how) => {
            runs.push(which);
            return program.run(inputs, how);
          };
          return { ...program, run };
        },
      };
    },
  };
  const float = tinyClassifier();
  const quantized = quantizeTiny(float, { weights: 4 });
  const outputs = new Map([
    ["conv1", float.nodes.find(({ name }) => name === "bn1")?.outputs[0] ?? ""],
    ["linear", "logits"],
    ["missing", "no such value"],
  ]);
  const batches = [1, 2].map((seed) => new Map([["input", tinyBatch("float64", 4, seed).images]]));
  const found = await layerSqnr(float, quantized, outputs, batches, { engine, seed: 0 });
  expect(runs).toEqual(["float", "quantized", "float", "quantized"]);
  expect([...found.keys()]).toEqual(["conv1", "linear"]);
  for (const decibels of found.values()) expect(decibels).toBeGreaterThan(0);
});
