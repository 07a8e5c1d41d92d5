import { describe, expect, test } from "vitest";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { memoryStorage, type Storage } from "../data/storage.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";
import { constantOf, gridOf, nearestIntegers, quotientsOf } from "../rounding/grid.ts";
import type { Context } from "../run/context.ts";
import type { UnitLossSettings } from "./loss.ts";
import { adaroundLearning } from "./options.ts";
import type { Phase, RoundingTraining } from "./phase.ts";
import { type Reconstructed, type ReconstructionJob, reconstruct } from "./reconstruct.ts";
import type { Subset } from "./subset.ts";

const float = tinyClassifier("float32");
const quantized = quantizeTiny(float, { weights: 3, activations: 4, asymmetricWeights: false });
const withZeroPoints = quantizeTiny(float, { weights: 3, activations: 4, asymmetricWeights: true });
const context: Context = { engine: createReferenceEngine(), seed: 4 };

async function* batches(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  for (const seed of [1, 2, 3, 4]) yield new Map([["input", tinyBatch("float32", 4, seed).images]]);
}

const all: Subset = { by: "magnitude", share: 1 };
const rounding: RoundingTraining = {
  ...adaroundLearning,
  subset: all,
  learningRate: 0.1,
  lambda: 0.01,
  betaStart: 20,
  betaEnd: 2,
  roundingWarmup: 0.2,
};
const squared: UnitLossSettings = { kind: "mse", power: 2 };
const qdrop: Phase = {
  rounding,
  stepRate: 1e-3,
  inputs: { mixed: 0.5 },
  activations: "quantized",
  drop: 0.5,
  loss: squared,
  iterations: 40,
};
const weightsThenSteps: readonly Phase[] = [
  { rounding, inputs: "quantized", activations: "float", drop: 0, loss: squared, iterations: 40 },
  {
    stepRate: 1e-3,
    inputs: "float",
    activations: "quantized",
    drop: 0,
    loss: { kind: "lp", power: 2.4 },
    iterations: 10,
  },
];

interface Trial extends Partial<ReconstructionJob> {
  readonly storage?: Storage;
  readonly resume?: boolean;
}

function reconstructed({ storage, resume = false, ...given }: Trial, at: Context = context): Promise<Reconstructed> {
  const checkpoints = storage && { storage, fingerprint: "this run", resume };
  const job: ReconstructionJob = {
    quantized,
    float,
    batches,
    phases: [qdrop],
    unit: "block",
    batch: 4,
    cacheBytes: 0,
    cacheFloats: "float32",
    checkpoints,
    ...given,
  };
  return reconstruct(job, at);
}

const weightQuantizers = (graph: Graph) => quantizersOf(graph).filter(({ value }) => graph.constants.has(value));

/** By weight quantizer, its integers. */
const integersOf = (graph: Graph): ReadonlyMap<string, Float64Array> =>
  new Map(
    weightQuantizers(graph).map((quantizer) => {
      const grid = gridOf(graph, quantizer);
      return [quantizer.output, nearestIntegers(quotientsOf(constantOf(graph, quantizer.value), grid), grid)];
    }),
  );

const bytesOf = ({ constants }: Graph) => [...constants].map(([name, { data }]) => [name, data]);

/** Stops when so many units are done, in the middle of the next. */
function stopping(units: number): Context {
  const controller = new AbortController();
  const begun = new Set<string>();
  const onProgress = ({ phase, done }: { readonly phase: string; readonly done: number }): void => {
    if (phase.startsWith("train ")) begun.add(phase);
    if (begun.size > units && done > 8) controller.abort();
  };
  return { ...context, signal: controller.signal, onProgress };
}

describe("reconstruction", () => {
  test.each([
    ["layer", ["conv1", "conv2", "linear"]],
    ["block", ["conv1", "conv2", "linear"]],
    ["network", ["network"]],
  ] as const)("by %s brings units nearer to the float ones", async (unit, names) => {
    const { units } = await reconstructed({ unit });
    expect(units.map((record) => record.unit)).toEqual(names);
    for (const { before, after, kept } of units) if (kept === "trained") expect(after).toBeLessThanOrEqual(before);
    expect(units.filter(({ kept }) => kept === "trained").length).toBeGreaterThan(0);
    expect(units.some(({ before, after }) => after < 0.9 * before)).toBe(true);
  });

  test.each([
    ["around zero", quantized],
    ["with zero points", withZeroPoints],
  ])("leaves each weight on the integer below it or the one above, %s", async (_, start) => {
    const { graph } = await reconstructed({ quantized: start });
    const given = new Map(weightQuantizers(start).map((quantizer) => [quantizer.output, quantizer]));
    let moved = 0;
    for (const [output, integers] of integersOf(graph)) {
      const quantizer = given.get(output);
      if (!quantizer) throw new Error(`no quantizer of ${output}`);
      const grid = gridOf(start, quantizer);
      const quotients = quotientsOf(constantOf(start, quantizer.value), grid);
      const nearest = nearestIntegers(quotients, grid);
      integers.forEach((q, i) => {
        const down = Math.floor(quotients[i]) + grid.zeroPoint[i];
        const options = [down, down + 1].map((each) => Math.min(grid.high, Math.max(grid.low, each)) + 0);
        expect(options).toContain(q + 0);
        if (q !== nearest[i]) moved++;
      });
    }
    expect(moved).toBeGreaterThan(0);
  });

  test("trains steps of activations, and no weight, in a phase of steps alone", async () => {
    const first = await reconstructed({ phases: weightsThenSteps.slice(0, 1) });
    const { graph } = await reconstructed({ phases: weightsThenSteps });
    expect(integersOf(graph)).toEqual(integersOf(first.graph));
    const steps = (of: Graph) =>
      quantizersOf(of)
        .filter(({ value }) => !of.constants.has(value))
        .map(({ scale }) => numbersOf(constantOf(of, scale))[0]);
    expect(steps(first.graph)).toEqual(steps(quantized));
    expect(steps(graph)).not.toEqual(steps(quantized));
  });

  test.each([0, 1, 2])("stopped after %i units and resumed, gives the same bytes", async (units) => {
    const whole = await reconstructed({});
    const storage = memoryStorage();
    await expect(reconstructed({ storage }, stopping(units))).rejects.toMatchObject({
      code: "ABORTED",
      message: `Stopped in unit "${["conv1", "conv2", "linear"][units]}", after ${units} that are done. Go on with --resume, from the start of "${["conv1", "conv2", "linear"][units]}".`,
    });
    const notes: string[] = [];
    const resumed = await reconstructed({ storage, resume: true }, { ...context, onNote: (note) => notes.push(note) });
    expect(notes.filter((note) => note.startsWith("Resumed"))).toEqual(
      units === 0 ? [] : [`Resumed after ${units} units.`],
    );
    expect(resumed.units).toEqual(whole.units);
    expect(bytesOf(resumed.graph)).toEqual(bytesOf(whole.graph));
  });

  test("a run that is done gives the same bytes again without running anything", async () => {
    const storage = memoryStorage();
    const whole = await reconstructed({ storage, phases: weightsThenSteps });
    const compile = () => Promise.reject(new Error("something ran"));
    const idle = { ...context, engine: { ...context.engine, compile } };
    const again = await reconstructed({ storage, resume: true, phases: weightsThenSteps }, idle);
    expect(again.units).toEqual(whole.units);
    expect(bytesOf(again.graph)).toEqual(bytesOf(whole.graph));
  });

  test("with inputs that are corrected, in memory or not, stopped or not, other bytes than without", async () => {
    const phases = [{ ...qdrop, correction: { iterations: 10, rate: 1e-2, freedom: 1 } }];
    const whole = await reconstructed({ phases });
    const storage = memoryStorage();
    await expect(reconstructed({ storage, phases }, stopping(1))).rejects.toMatchObject({ code: "ABORTED" });
    for (const same of [{ storage, resume: true }, { cacheBytes: 1e9 }])
      expect(bytesOf((await reconstructed({ ...same, phases })).graph)).toEqual(bytesOf(whole.graph));
    expect(bytesOf((await reconstructed({})).graph)).not.toEqual(bytesOf(whole.graph));
  });

  test("a unit that training makes worse stays as it was, and says so", async () => {
    const notes: string[] = [];
    const wild: Phase = { ...qdrop, rounding: { ...rounding, learningRate: 50 }, stepRate: 0, iterations: 3 };
    const { graph, units } = await reconstructed(
      { phases: [wild] },
      { ...context, onNote: (note) => notes.push(note) },
    );
    const stayed = units.filter(({ kept }) => kept === "before");
    expect(stayed.length).toBeGreaterThan(0);
    expect(notes).toHaveLength(stayed.length);
    expect(notes[0]).toMatch(
      /^Unit "\w+" stays as it was before it trained: on samples held out, the error of its output is /,
    );
    const [before, after] = [integersOf(quantized), integersOf(graph)];
    for (const { unit } of stayed)
      for (const [output, integers] of before)
        if (output.startsWith(`${unit}.`)) expect(after.get(output)).toEqual(integers);
  });

  test("the seed decides what is drawn", async () => {
    const [one, two] = [await reconstructed({}), await reconstructed({}, { ...context, seed: 5 })];
    expect(bytesOf(two.graph)).not.toEqual(bytesOf(one.graph));
    expect(bytesOf((await reconstructed({ cacheBytes: 1e9 })).graph)).toEqual(bytesOf(one.graph));
  });
});
