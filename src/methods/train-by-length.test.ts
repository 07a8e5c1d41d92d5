// Training on samples of several lengths, in batches of similar ones.
import { expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { drawSentences, places, sentenceClassifier } from "../../test/support/sentences.ts";
import { quantizeTiny, tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { batches } from "../data/batches.ts";
import { bucketsOf, lengthOfBatch, orderInBuckets } from "../data/lengths.ts";
import { preprocessPresets } from "../data/preprocess.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { memoryStorage } from "../data/storage.ts";
import type { Engine } from "../engines/engine.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { engines } from "../engines/table.ts";
import { withSizesOf } from "../evaluate/sizes-of-data.ts";
import { runOptions } from "../options/recipe.ts";
import type { QuantizeJob } from "../quantize/job.ts";
import { quantizeModel } from "../quantize/quantize-model.ts";
import type { Context } from "../run/context.ts";
import { trainingOptions } from "../training/options.ts";
import { type TrainingJob, trainByPlan } from "../training/train-by-plan.ts";

const [batch, seed] = [8, 0];
const preprocess = preprocessPresets.none;
const sentences = drawSentences(100);
const { lengths: _, ...padded } = sentences;
const names = (["reference", "onnxruntime", "native"] as const).filter((name) => engines[name].isAvailable());

test.each(names)("engine %s: what batches cut to their length train is what padded ones do", async (name) => {
  const buckets = bucketsOf(sentences);
  if (!buckets) throw new Error("no buckets");
  const { lengths, sizes } = buckets;
  expect(sizes.at(-1)).toBe(places);
  expect(sizes.length).toBeGreaterThan(1);
  const order = orderInBuckets(shuffledOrder(sentences.length, seed, 0), lengths, { batch, seed, epoch: 0 });
  const model = quantizeTiny(withSizesOf(sentenceClassifier(), sentences, preprocess));
  const job: Omit<TrainingJob, "batches"> = {
    model,
    options: trainingOptions.parse({ batch, lr: 0.1, qparamLr: 1e-3 }),
    plan: { refreshEvery: 1e9, select: () => new Map() },
    steps: 10,
  };
  const context = { engine: engines[name].create(), seed, threads: 1 };
  const options = { batchSize: batch, preprocess, order };
  const cut = await trainByPlan(
    {
      ...job,
      batches: (start) => batches(sentences, { ...options, cutTo: sizes, start }),
      lengthAt: (step) => lengthOfBatch(order.subarray(step * batch, (step + 1) * batch), lengths, sizes),
    },
    context,
  );
  const whole = await trainByPlan({ ...job, batches: (start) => batches(padded, { ...options, start }) }, context);
  for (const [step, loss] of whole.losses.entries()) expect(cut.losses[step]).toBeCloseTo(loss, 4);
  expect(cut.losses[0]).not.toBe(cut.losses[9]);
  for (const [constant, value] of whole.model.constants) {
    const found = cut.model.constants.get(constant);
    if (!found) throw new Error(`no ${constant}`);
    if (value.dtype === "float32")
      expectClose(found, value, {
        widen: { factor: 100, because: "ten steps follow each other" },
      });
  }
});

/** By graph that is compiled and has sentences as inputs: their length and how often it was bound. */
function watching(engine: Engine): Engine & { readonly steps: number[]; readonly alive: Set<object>; most: number } {
  const watched = {
    ...engine,
    precisions: engine.precisions,
    steps: [] as number[],
    alive: new Set<object>(),
    most: 0,
    compile: async (graph: Parameters<Engine["compile"]>[0], options?: Parameters<Engine["compile"]>[1]) => {
      const executable = await engine.compile(graph, options);
      if (graph.name !== "step") return executable;
      watched.steps.push(Number(graph.values.get("input_ids")?.shape[1]));
      watched.alive.add(executable);
      watched.most = Math.max(watched.most, watched.alive.size);
      return {
        ...executable,
        dispose: async () => {
          watched.alive.delete(executable);
          await executable.dispose();
        },
      };
    },
  };
  return watched;
}

const jobOf = (settings: object, storage = memoryStorage(), resume = false): QuantizeJob => ({
  model: { graph: sentenceClassifier(), origin: tinyOrigin },
  source: { train: sentences, test: drawSentences(60, 8), heldOut: false },
  preprocess,
  options: runOptions.parse({
    quantize: { calibrationSamples: 32 },
    methods: [{ qat: { batch, lr: 0.1, checkpointEvery: 4, ...settings } }],
    accuracies: "deployed",
  }),
  openDeployed,
  checkpoints: { storage, fingerprint: "this run", resume },
});

test("a step is compiled once for each of at most four lengths, and all are let go of", async () => {
  const engine = watching(engines.reference.create());
  await quantizeModel(jobOf({ steps: 40 }), { engine, seed });
  const { sizes = [] } = bucketsOf(sentences) ?? {};
  expect(engine.steps.toSorted((a, b) => a - b)).toEqual(sizes);
  expect(engine.most).toBe(sizes.length);
  expect(engine.alive.size).toBe(0);
});

test("a limit of memory is of one step: samples stay as they are given", async () => {
  const engine = watching({
    ...engines.reference.create(),
    compile: async (graph, options) => ({
      ...(await engines.reference.create().compile(graph, options)),
      memoryBytes: 1e6,
    }),
  });
  await quantizeModel(jobOf({ steps: 10, memoryLimit: 2 }), { engine, seed });
  expect(new Set(engine.steps)).toEqual(new Set([places]));
});

test("a run that is stopped anywhere and resumed gives the same bytes", async () => {
  const context: Context = { engine: engines.reference.create(), seed };
  const whole = await quantizeModel(jobOf({ steps: 30 }), context);
  const storage = memoryStorage();
  // An epoch has 12 steps.
  for (const [i, stop] of [3, 12, 19].entries()) {
    const controller = new AbortController();
    const onProgress: Context["onProgress"] = ({ phase, done }) => {
      if (phase === "train" && done === stop * batch) controller.abort();
    };
    const stopped = quantizeModel(jobOf({ steps: 30 }, storage, i > 0), {
      ...context,
      signal: controller.signal,
      onProgress,
    });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
  }
  const resumed = await quantizeModel(jobOf({ steps: 30 }, storage, true), context);
  expect(resumed.bytes).toEqual(whole.bytes);
  expect(resumed.training?.losses).toEqual(whole.training?.losses);
});
