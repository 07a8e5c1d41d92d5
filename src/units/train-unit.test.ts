import { describe, expect, test } from "vitest";
import { inMemoryRanks } from "../../test/support/in-memory-ranks.ts";
import { isNativeBuilt } from "../../test/support/native.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { memoryStorage, type Storage } from "../data/storage.ts";
import { createCommunicator } from "../distributed/communicator.ts";
import { createNativeEngine } from "../engines/native/native-engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import type { Context } from "../run/context.ts";
import type { ParameterRole } from "../training/parameters.ts";
import { directQparams } from "../training/qparam-training.ts";
import { scheduleFactor } from "../training/schedule.ts";
import { type RoleTraining, trainedByRole } from "../training/trained-by-role.ts";
import { optimizerRule, qparamRule } from "../training/update-rules.ts";
import { openActivationCache } from "./activation-cache.ts";
import { optimizeUnits, type UnitData } from "./optimize-units.ts";
import {
  reconstructionError,
  type TrainedUnit,
  trainUnit,
  type UnitInputs,
  type UnitLoss,
  type UnitTraining,
} from "./train-unit.ts";
import { cutIntoUnits } from "./units.ts";

const float = tinyClassifier("float32");
const quantized = quantizeTiny(float, { weights: 3, activations: 8 });
const units = cutIntoUnits(float, "block");
const block = 1;
const context: Context = { engine: createReferenceEngine(), seed: 4 };
const steps = 60;
const [batch, sampleCount] = [4, 14];

async function* batches(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  for (const [index, count] of [6, 6, 2].entries())
    yield new Map([["input", tinyBatch("float32", count, index + 1).images]]);
}

const adam = optimizerRule({ kind: "adam", weightDecay: 0 });
const scales: RoleTraining = {
  learningRate: "scale rate",
  ruleOf: (parameter, start) => qparamRule(directQparams, parameter, start),
  isClipped: false,
};
const roles: Partial<Record<ParameterRole, RoleTraining>> = {
  weight: { learningRate: "weight rate", ruleOf: () => adam, isClipped: true },
  norm: { learningRate: "weight rate", ruleOf: () => adam, isClipped: true },
  "weight-scale": scales,
  "input-scale": scales,
};

/** The reconstruction error, and the weight's squares times an input that falls from step to step. */
const annealedLoss: UnitLoss = (build, unit, targets) => {
  const error = reconstructionError(build, unit, targets);
  const strength = build.input("strength", { dtype: "float32", shape: [] });
  const squares = build.node("ReduceSum", [build.node("Mul", ["conv2.weight", "conv2.weight"])], { keepdims: 0 });
  return build.node("Add", [error, build.node("Mul", [squares, strength])]);
};

const strengthAt = (step: number): number => 1e-5 * (1 - step / steps);
const scheduled: UnitTraining["scheduled"] = new Map([
  [
    "weight rate",
    (step) => 0.01 * scheduleFactor({ schedule: "cosine", warmup: 0, milestones: [], decay: 1 }, step, steps),
  ],
  ["scale rate", () => 0.01],
  ["strength", strengthAt],
]);

interface Trial {
  readonly inputs?: UnitInputs;
  readonly storage?: Storage;
  readonly resume?: boolean;
  readonly context?: Context;
  readonly loss?: UnitLoss;
  readonly memoryBytes?: number;
}

const jobOf = (
  data: UnitData,
  { inputs = "quantized", storage, resume = false, loss = annealedLoss }: Trial,
): UnitTraining => ({
  data,
  inputs,
  loss,
  parametersOf: (unit) => trainedByRole(unit, roles),
  scheduled,
  steps,
  batch,
  accumulate: 1,
  ...(storage ? { checkpoints: { storage, fingerprint: "this run", resume } } : {}),
  checkpointEvery: 7,
});

/** Walks all units; `visit` is called for the residual block. */
async function walk(visit: (data: UnitData) => Promise<Graph>, memoryBytes = 0): Promise<Graph> {
  const cache = await openActivationCache({ storage: memoryStorage(), memoryBytes, floats: "float32" });
  try {
    return await optimizeUnits(
      { units, float, quantized, batches: batches(), cache, batchSize: 4 },
      (data) => (data.index === block ? visit(data) : Promise.resolve(data.quantized)),
      context,
    );
  } finally {
    await cache.dispose();
  }
}

async function trainedBlock(trial: Trial = {}): Promise<TrainedUnit> {
  let result: TrainedUnit | undefined;
  await walk(async (data) => {
    result = await trainUnit(jobOf(data, trial), trial.context ?? context);
    return result.quantized;
  }, trial.memoryBytes);
  if (!result) throw new Error("the block was not visited");
  return result;
}

const bytesOf = ({ constants }: Graph) => [...constants].map(([name, { data }]) => [name, data]);
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The mean squared difference of the block's output in both streams, of all samples, once the block is as given. */
async function errorOf(trained: Graph): Promise<number> {
  const all = Array.from({ length: sampleCount }, (_, i) => i);
  const cache = await openActivationCache({ storage: memoryStorage(), memoryBytes: 1e9, floats: "float32" });
  let error = Number.NaN;
  await optimizeUnits(
    { units, float, quantized, batches: batches(), cache, batchSize: 4 },
    async (data) => {
      if (data.index === block) return trained;
      if (data.index !== block + 1) return data.quantized;
      const [mine, theirs] = [await data.inputs("quantized", all), await data.inputs("float", all)];
      const wanted = numbersOf(theirs.get("relu2") as Tensor);
      error = mean(Array.from(numbersOf(mine.get("relu2") as Tensor), (value, i) => (value - wanted[i]) ** 2));
      return data.quantized;
    },
    context,
  );
  return error;
}

describe("a block that trains", () => {
  test.each<[string, UnitInputs]>([
    ["quantized", "quantized"],
    ["float", "float"],
    ["mixed", { mixed: 0.5 }],
  ])("comes nearer to the float block than rounding, from %s inputs", async (_, inputs) => {
    const { quantized: trained, losses } = await trainedBlock({ inputs });
    expect(losses).toHaveLength(steps);
    expect(mean(losses.slice(-10))).toBeLessThan(0.8 * mean(losses.slice(0, 10)));
    expect(await errorOf(trained)).toBeLessThan(0.9 * (await errorOf(quantized)));
  });

  test("changes its own parameters of the roles given, and nothing else", async () => {
    const { quantized: trained } = await trainedBlock();
    const changed = bytesOf(trained).flatMap(([name, data], i) => {
      const same =
        Buffer.compare(
          Buffer.from((data as Float32Array).buffer),
          Buffer.from((bytesOf(quantized)[i][1] as Float32Array).buffer),
        ) === 0;
      return same ? [] : [name];
    });
    expect(changed.sort()).toEqual([
      "bn2.bias",
      "bn2.weight",
      "conv2.input_scale",
      "conv2.weight",
      "conv2.weight_scale",
    ]);
  });

  test.each([[[1]], [[7, 20]]])("stopped after steps %j and resumed, gives the same bytes", async (stops) => {
    const inputs = { mixed: 0.5 };
    const whole = await trainedBlock({ inputs });
    const storage = memoryStorage();
    for (const [i, step] of stops.entries()) {
      const controller = new AbortController();
      const onProgress = ({ phase, done }: { readonly phase: string; readonly done: number }): void => {
        if (phase.startsWith("train") && done === step * batch) controller.abort();
      };
      const stopping = { ...context, signal: controller.signal, onProgress };
      await expect(trainedBlock({ inputs, storage, resume: i > 0, context: stopping })).rejects.toMatchObject({
        code: "ABORTED",
      });
    }
    const resumed = await trainedBlock({ inputs, storage, resume: true });
    expect(resumed.losses).toEqual(whole.losses);
    expect(bytesOf(resumed.quantized)).toEqual(bytesOf(whole.quantized));
  });

  test.skipIf(!isNativeBuilt)(
    "gives the same bytes whether its steps run one by one or in series, and resumed",
    async () => {
      const inputs = { mixed: 0.5 };
      const native = { ...context, engine: createNativeEngine(), threads: 1 };
      const one = await trainedBlock({ inputs, context: native });
      const seen: number[] = [];
      const controller = new AbortController();
      const stopping = {
        ...native,
        signal: controller.signal,
        onProgress: ({ phase, done }: { readonly phase: string; readonly done: number }) => {
          if (!phase.startsWith("train")) return;
          seen.push(done / batch);
          if (done >= 9 * batch) controller.abort();
        },
      };
      const storage = memoryStorage();
      const trial = { inputs, storage, memoryBytes: 1e9 };
      await expect(trainedBlock({ ...trial, context: stopping })).rejects.toMatchObject({ code: "ABORTED" });
      const resumed = await trainedBlock({ ...trial, resume: true, context: native });
      expect(seen.length).toBeLessThan(seen[seen.length - 1]);
      expect(resumed.losses).toEqual(one.losses);
      expect(bytesOf(resumed.quantized)).toEqual(bytesOf(one.quantized));
    },
  );

  test.each([
    { how: "one by one", create: createReferenceEngine, memoryBytes: 0 },
    ...(isNativeBuilt ? [{ how: "in series", create: createNativeEngine, memoryBytes: 1e9 }] : []),
  ])("is trained by each of two processes where batches have one part, $how", async ({ create, memoryBytes }) => {
    const ownContext = { engine: create(), seed: 4, threads: 1 };
    const one = await trainedBlock({ context: ownContext, memoryBytes });
    const ranks = await Promise.all(
      inMemoryRanks(2).map((transport) => createCommunicator(transport, { timeoutMs: 60_000, name: "here" })),
    );
    const second = await trainedBlock({ context: { ...ownContext, communicator: ranks[1] }, memoryBytes });
    expect(second.losses).toEqual(one.losses);
    expect(bytesOf(second.quantized)).toEqual(bytesOf(one.quantized));
  });

  test.skipIf(!isNativeBuilt)("that diverges says at which step, in series or not", async () => {
    const native = { ...context, engine: createNativeEngine(), threads: 1 };
    const broken = new Map([...scheduled, ["strength", (step: number) => (step < 11 ? 0 : Number.NaN)] as const]);
    const messages: string[] = [];
    for (const memoryBytes of [0, 1e9])
      await walk(async (data) => {
        const training = trainUnit({ ...jobOf(data, {}), scheduled: broken }, native);
        await training.catch((error: Error) => messages.push(error.message));
        return data.quantized;
      }, memoryBytes);
    expect(messages[0]).toMatch(/^Loss became NaN at step 11 of 60 \(unit "conv2"\)\./);
    expect(messages[1]).toBe(messages[0]);
  });

  test("is fed what the loss has as an input at every step", async () => {
    const onlyStrength: UnitLoss = (build, unit, targets) => {
      const nothing = build.node("Mul", [reconstructionError(build, unit, targets), build.scalar(0)]);
      return build.node("Add", [nothing, build.input("strength", { dtype: "float32", shape: [] })]);
    };
    const { losses } = await trainedBlock({ loss: onlyStrength });
    expect(losses).toEqual(Array.from({ length: steps }, (_, step) => Math.fround(strengthAt(step))));
  });

  test("names an input of the loss that nothing feeds", async () => {
    const loss: UnitLoss = (build, unit, targets) =>
      build.node("Mul", [
        reconstructionError(build, unit, targets),
        build.input("beta", { dtype: "float32", shape: [] }),
      ]);
    await expect(trainedBlock({ loss })).rejects.toThrow('"beta"');
  });

  test("refuses the checkpoint of another unit, and more samples a step than there are", async () => {
    const storage = memoryStorage();
    await trainedBlock({ storage });
    const resumed = walk(async (data) => {
      const other = { ...data, unit: { ...data.unit, name: "another" } };
      return (await trainUnit(jobOf(other, { storage, resume: true }), context)).quantized;
    });
    await expect(resumed).rejects.toThrow('The checkpoint is of unit "conv2"; expected one of unit "another".');
    const large = walk(async (data) => (await trainUnit({ ...jobOf(data, {}), batch: 15 }, context)).quantized);
    await expect(large).rejects.toThrow(
      'Unit "conv2" has 14 samples to train with; expected at least the 15 of a step.',
    );
  });
});

describe("what a unit is given", () => {
  test("is what the whole models compute, sample by sample", async () => {
    const images = [1, 2, 3].map((seed, i) => tinyBatch("float32", [6, 6, 2][i], seed).images);
    const random = createRandom(9);
    const asked = Array.from({ length: 5 }, () => random.integer(0, sampleCount));
    const one = async (graph: Graph, value: string, sample: number): Promise<Float32Array> => {
      const [from, at] = sample < 6 ? [0, sample] : sample < 12 ? [1, sample - 6] : [2, sample - 12];
      const size = images[from].data.length / images[from].shape[0];
      const image: Tensor = {
        ...images[from],
        shape: [1, ...images[from].shape.slice(1)],
        data: images[from].data.slice(at * size, (at + 1) * size),
      };
      const outputs = await runGraph(
        context.engine,
        setBatchSize({ ...graph, outputs: [value] }, 1),
        new Map([["input", image]]),
      );
      return outputs.get(value)?.data as Float32Array;
    };
    const joined = async (graph: Graph, value: string): Promise<number[]> => {
      const all: number[] = [];
      for (const sample of asked) all.push(...(await one(graph, value, sample)));
      return all;
    };
    await walk(async (data) => {
      const [mine, theirs, targets] = [
        await data.inputs("quantized", asked),
        await data.inputs("float", asked),
        await data.outputs(asked),
      ];
      expect([...numbersOf(mine.get("relu1") as Tensor)]).toEqual(await joined(quantized, "relu1"));
      expect([...numbersOf(theirs.get("relu1") as Tensor)]).toEqual(await joined(float, "relu1"));
      expect([...numbersOf(targets.get("relu2") as Tensor)]).toEqual(await joined(float, "relu2"));
      return data.quantized;
    });
  });
});
