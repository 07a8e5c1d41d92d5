import { expect, test } from "vitest";
import { tinyClassifier } from "../../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import type { Graph } from "../../ir/graph.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { quantizeOptions } from "../../quantizers/quantize-options.ts";
import { quantizersOf } from "../../quantizers/quantizer.ts";
import { allocate } from "./allocate.ts";
import { choicesOf } from "./choices.ts";
import { checkLatency, latencyBudget, measureLatencies } from "./latency.ts";

const graph = tinyClassifier("float32");
const quantize = quantizeOptions.parse({ placement: "inputs" });
const widths = [4, 8];
const choices = choicesOf(graph, quantize, widths);

/** A machine on which a weight of 4 bits takes 2 nanoseconds, one of 8 bits 1, one in float 3; anything else 0.5 ms in all. */
function timeOf(timed: Graph): number {
  const bits = new Map(quantizersOf(timed).map((quantizer) => [quantizer.value, quantizer.bits]));
  const weights = [...timed.constants].filter(([name]) => name.endsWith(".weight") && !name.startsWith("bn"));
  const ns = weights.reduce((sum, [name, { shape }]) => {
    const each = { 4: 2, 8: 1 }[bits.get(name) ?? 0] ?? 3;
    return sum + each * sizeOf(shape);
  }, 0);
  return ns / 1000 + (weights.length > 1 ? 0.5 : 0);
}

const asked: { count: number; inputs: readonly (readonly number[])[] }[] = [];
const measured = () =>
  measureLatencies(
    {
      graph,
      quantize,
      choices,
      widths,
      inputs: new Map(),
      timeFiles: async (graphs, inputs) => {
        asked.push({ count: graphs.length, inputs: [...inputs.values()].map(({ shape }) => shape) });
        return graphs.map(timeOf);
      },
    },
    { engine: createReferenceEngine(), seed: 0 },
  );

test("layers are timed alone, at each width, on one sample; what is left is of the rest", async () => {
  const { float, whole, layers } = await measured();
  const counts = choices.free.map(({ count }) => count);
  const all = counts.reduce((sum, count) => sum + count, 0);
  expect(float).toBeCloseTo((3 * all) / 1000 + 0.5, 9);
  expect([...whole]).toEqual([
    [4, (2 * all) / 1000 + 0.5],
    [8, all / 1000 + 0.5],
  ]);
  expect(layers.map((each) => [each.get(4), each.get(8)])).toEqual(counts.map((n) => [(2 * n) / 1000, n / 1000]));
  expect(asked.map(({ count }) => count)).toEqual([3, 2, 2, 2]);
  expect(asked[1].inputs).toEqual([[1, 3, 8, 8]]);
  expect(asked[3].inputs).toEqual([[1, 6]]);
});

test("the budget is what is left for the layers, and the least loss within it is found", async () => {
  const latencies = await measured();
  const budget = latencyBudget(choices, latencies, 1.3, widths);
  const [small, large] = [8, 4].map((width) => latencies.whole.get(width) ?? 0);
  const options = choices.free.map((choice) =>
    widths.map((width) => ({ width, cost: budget.costOf(choice, width), loss: width === 8 ? 1 : 0 })),
  );
  expect(budget.amountOf(budget.available)).toBeLessThanOrEqual(1.3);
  const found = allocate(options, budget.available);
  expect(found?.loss).toBeGreaterThan(0);
  expect(budget.amountOf(found?.cost ?? 0)).toBeGreaterThan(small);
  expect(budget.amountOf(found?.cost ?? 0)).toBeLessThan(large);
});

test("what cannot be reached is refused with what is", async () => {
  const latencies = await measured();
  const budget = latencyBudget(choices, latencies, 0.1, widths);
  expect(budget.outOfReach().message).toMatch(
    /^maxLatency is 0\.100 ms; with the fastest bits for every layer the model would take 1\.0\d ms\. Measured for one sample: 4 bits 1\.52 ms, 8 bits 1\.01 ms, float 2\.03 ms\./,
  );
  expect(() => checkLatency("0.5x", latencies, { float: 2, deployed: 1 })).not.toThrow();
  expect(() => checkLatency("0.5x", latencies, { float: 2, deployed: 1.01 })).toThrow(
    /^The file takes 1\.01 ms for one sample in ONNX Runtime; maxLatency is 1\.00 ms\. Measured/,
  );
});
