// The distribution correction against plain loops, finite differences and PyTorch's schedule.
import { describe, expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { memoryStorage } from "../data/storage.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, scalar, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import type { Context } from "../run/context.ts";
import { openActivationCache } from "../units/activation-cache.ts";
import { cutUnit } from "../units/cut-unit.ts";
import { optimizeUnits, type UnitData } from "../units/optimize-units.ts";
import { cutIntoUnits } from "../units/units.ts";
import { correctInputs, correctionStep, plateauSchedule } from "./correct-inputs.ts";

const engine = createReferenceEngine();
const context: Context = { engine, seed: 1 };
const float = tinyClassifier("float64");
const quantized = quantizeTiny(float, { weights: 3, activations: 4 });
const units = cutIntoUnits(float, "block");
const [batch, freedom] = [4, 0.02];
const [stem] = units;
const cutOf = (index: number): Graph => cutUnit(setBatchSize(float, batch), units[index].inputs, units[index].outputs);
const random = createRandom(11);

/** By plain loops over the numbers of one input and of what enters the normalizations. */
async function lossOf(unit: Graph, x: Tensor, start: Tensor, free = freedom): Promise<number> {
  const norms = unit.nodes.filter(({ op }) => op === "BatchNormalization");
  const given = new Map([[unit.inputs[0], x]]);
  const values = await runGraph(engine, { ...unit, outputs: norms.map(({ inputs }) => inputs[0]) }, given);
  const rows = ({ shape: [n, c, h, w], data }: Tensor): readonly (readonly number[])[] =>
    Array.from({ length: n * c }, (_, i) => Array.from(data.slice(i * h * w, (i + 1) * h * w), Number));
  let loss = 0;
  for (const { inputs } of norms) {
    const [means, variances] = [3, 4].map((i) => numbersOf(unit.constants.get(inputs[i]) as Tensor));
    rows(values.get(inputs[0]) as Tensor).forEach((row, i) => {
      const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
      const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (row.length - 1);
      const c = i % means.length;
      loss += (mean - means[c]) ** 2 / batch;
      loss += (Math.sqrt(variance + 1e-6) - Math.sqrt(variances[c] + 1e-6)) ** 2 / batch;
    });
  }
  const [n, , h, w] = x.shape;
  const [moved, from] = [x, start].map(numbersOf);
  const strayed = Array.from(moved, (value, i) => (value - from[i]) ** 2).reduce((sum, value) => sum + value, 0);
  return loss + strayed / (n * h * w) / free;
}

/** One step at learning rate 0 or another: its loss, and the variables after it. */
async function stepped(unit: Graph, x: Tensor, start: Tensor, rate: number) {
  const { graph, initial, loss } = correctionStep(unit, freedom);
  const [input] = unit.inputs;
  const values = new Map(initial);
  values.set(input, x).set(`frostbit/start:${input}`, start);
  const executable = await engine.compile(graph);
  const variables = await engine.variables(values);
  const fed = graph.inputs.map((name) => [name, scalar("float64", rate)] as const);
  const outputs = await executable.bind(variables).run(new Map(fed));
  return { loss: toNumbers(outputs.get(loss) as Tensor)[0], variables };
}

const like = (given: Tensor, change: (value: number, i: number) => number): Tensor =>
  tensorOf(given.dtype, given.shape, Array.from(numbersOf(given), change));

describe("the loss of a correction", () => {
  test.each([0, 1])("and its gradient are those of plain loops and finite differences, unit %i", async (index) => {
    const unit = cutOf(index);
    const shape = unit.values.get(unit.inputs[0])?.shape.map(Number) ?? [];
    const start = random.tensor("float64", shape);
    const x = like(start, (value) => value + 0.3 * random.normal());
    const { loss, variables } = await stepped(unit, x, start, 0);
    expect(Math.abs(loss / (await lossOf(unit, x, start)) - 1)).toBeLessThan(1e-12);
    // Adam's first moment is a tenth of the gradient.
    const moment = numbersOf(await variables.read(`${unit.inputs[0]}/first_moment`));
    const gradient = Array.from(moment, (value) => 10 * value);
    const direction = Array.from(gradient, () => random.normal());
    const along = gradient.reduce((sum, value, i) => sum + value * direction[i], 0);
    const at = (h: number): Promise<number> =>
      lossOf(
        unit,
        like(x, (value, i) => value + h * direction[i]),
        start,
      );
    const h = 1e-5;
    const difference = ((await at(h)) - (await at(-h))) / (2 * h);
    expect(Math.abs(along / difference - 1)).toBeLessThan(1e-6);
  });
});

test("the learning rate falls as PyTorch's does where the loss stands still", () => {
  // PyTorch 2.15, ReduceLROnPlateau(optimizer, min_lr=1e-5, patience=100): the losses after which the rate was another.
  const schedule = plateauSchedule(1e-3);
  const rates: number[] = [];
  for (let at = 0; at < 700; at++) {
    schedule.see(at < 50 ? 2 - 0.01 * at : at < 260 ? 1.51 - 1e-6 * at : 1.4);
    rates.push(schedule.rate());
  }
  const falls = rates.flatMap((rate, at) => (at > 0 && rate !== rates[at - 1] ? [[at, rate]] : []));
  expect(falls.map(([at]) => at)).toEqual([150, 253]);
  falls.forEach(([, rate], i) => {
    expect(rate).toBeCloseTo([1e-4, 1e-5][i], 12);
  });
});

async function* batches(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  for (const seed of [1, 2, 3]) yield new Map([["input", tinyBatch("float64", batch, seed).images]]);
}

/** Visits each unit. */
async function walk(visit: (data: UnitData) => Promise<void>): Promise<void> {
  const cache = await openActivationCache({ storage: memoryStorage(), memoryBytes: 2 ** 20, floats: "float32" });
  const job = { units, float, quantized, batches: batches(), cache, batchSize: batch };
  await optimizeUnits(
    job,
    async (data) => {
      await visit(data);
      return data.quantized;
    },
    context,
  );
}

describe("a unit whose inputs are corrected", () => {
  const correction = { iterations: 60, rate: 1e-2, freedom: 1 };

  test("has nearer ones in the float stream, and what the float unit gives for them; all else is as it was", async () => {
    const samples = Array.from({ length: 2 * batch }, (_, i) => i);
    const first = samples.slice(0, batch);
    const floats: Tensor[] = [];
    await walk(async (data) => {
      const job = { data, float, samples: samples.length, batch, correction };
      const moved = await correctInputs(job, context);
      if (data.index === 2) return expect(moved).toBe(data);
      const cut = cutOf(data.index);
      const [name] = data.unit.inputs;
      const [before, after] = [await data.inputs("float", first), await moved.inputs("float", first)];
      const [start, x] = [before, after].map((inputs) => inputs.get(name) as Tensor);
      floats.push(start);
      expect(await lossOf(cut, x, start, 1)).toBeLessThan(0.7 * (await lossOf(cut, start, start, 1)));
      expect(await moved.outputs(first)).toEqual(await runGraph(engine, cut, after));
      expect(await moved.inputs("quantized", first)).toEqual(await data.inputs("quantized", first));
      expect(moved.samples).toBe(samples.length);
      expect(moved.same).toEqual([]);
      expect(data.same).toEqual(data.index === 0 ? ["input"] : []);
    });
    // Of the second unit's inputs, where they start: the float stream that nothing moved.
    const whole = await runGraph(engine, cutOf(0), new Map([["input", tinyBatch("float64", batch, 1).images]]));
    expect(floats[1]).toEqual(whole.get(stem.outputs[0]));
  });
});
