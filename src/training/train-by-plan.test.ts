import { describe, expect, test } from "vitest";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import type { Batch } from "../data/batches.ts";
import type { Storage } from "../data/storage.ts";
import type { Engine } from "../engines/engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Tensor } from "../ir/tensor.ts";
import { efqat } from "../methods/efqat/efqat.ts";
import { efqatOptions } from "../methods/efqat/options.ts";
import type { Context } from "../run/context.ts";
import { trainingOptions } from "./options.ts";
import { type TrainingJob, trainByPlan } from "./train-by-plan.ts";

const batch = 4;
const model = quantizeTiny(tinyClassifier("float32"));

function memoryStorage(): Storage {
  const files = new Map<string, Uint8Array>();
  return {
    read: async (name) => files.get(name),
    write: async (name, bytes) => void files.set(name, bytes.slice()),
    list: async () => [...files.keys()],
    remove: async (name) => void files.delete(name),
  };
}

interface Trial {
  readonly storage?: Storage;
  readonly resume?: boolean;
  readonly lr?: number;
  readonly mode?: "cwpn" | "lwpn";
  readonly optimizer?: "sgd" | "adam";
  readonly memoryLimit?: number;
  readonly seed?: number;
  readonly onEnd?: () => void;
}

/** Six steps, a selection every two. */
function jobOf({ storage = memoryStorage(), resume = false, lr = 0.01, onEnd, ...trial }: Trial = {}): TrainingJob {
  const { mode = "cwpn", optimizer = "sgd", memoryLimit, seed = 3 } = trial;
  const efqatRun = efqatOptions.parse({ mode, updateRatio: 0.4, refreshEvery: 2 * batch, importance: "random" });
  async function* batches(start: number): AsyncGenerator<Batch> {
    try {
      for (let index = start; ; index++) {
        const { images, labels } = tinyBatch("float32", batch, index);
        yield { index, indices: new Int32Array(batch), inputs: new Map([["input", images]]), labels };
      }
    } finally {
      onEnd?.();
    }
  }
  return {
    model,
    options: trainingOptions.parse({
      batch,
      lr,
      optimizer,
      memoryLimit,
      qparamLr: 1e-3,
      schedule: "cosine",
      checkpointEvery: 4,
    }),
    plan: efqat(model, { ...efqatRun, seed }),
    steps: 6,
    batches,
    checkpoints: { storage, fingerprint: "this run", resume },
  };
}

/** A context whose signal fires in step `step`. */
function stoppingIn(step: number): Context {
  const controller = new AbortController();
  const onProgress = ({ done }: { readonly done: number }): void => {
    if (done === step * batch) controller.abort();
  };
  return { engine: createReferenceEngine(), seed: 0, signal: controller.signal, onProgress };
}

/** Plans for a megabyte a sample, and another for each convolution that trains; `onBind` is told what a graph that runs plans for. */
const planningEngine = (onBind: (megabytes: number) => void = () => {}): Engine => ({
  ...createReferenceEngine(),
  compile: async (graph) => {
    const executable = await createReferenceEngine().compile(graph);
    const samples = Number(graph.values.get("input")?.shape[0] ?? 0);
    const trained = graph.nodes.filter(({ op }) => op === "ConvGradientWeight").length;
    const megabytes = samples * (1 + trained);
    const bind: typeof executable.bind = (variables) => {
      onBind(megabytes);
      return executable.bind(variables);
    };
    return { ...executable, bind, memoryBytes: megabytes * 1e6 };
  },
});

const throughout: Context = { engine: createReferenceEngine(), seed: 0 };
const valuesOf = (constants: ReadonlyMap<string, Tensor>) => [...constants].map(([name, { data }]) => [name, data]);

describe("training by a plan", () => {
  test.each([
    ["cwpn", "sgd", [1, 3]],
    ["cwpn", "adam", [2]],
    ["lwpn", "sgd", [2, 5]],
    ["lwpn", "adam", [4, 6]],
  ] as const)("%s by %s, stopped after steps %j and resumed, gives the same bytes", async (mode, optimizer, stops) => {
    const whole = await trainByPlan(jobOf({ mode, optimizer }), throughout);
    const storage = memoryStorage();
    for (const [i, step] of stops.entries())
      await expect(
        trainByPlan(jobOf({ mode, optimizer, storage, resume: i > 0 }), stoppingIn(step)),
      ).rejects.toMatchObject({
        code: "ABORTED",
      });
    const resumed = await trainByPlan(jobOf({ mode, optimizer, storage, resume: true }), throughout);
    expect(resumed.losses).toEqual(whole.losses);
    expect(Object.fromEntries(resumed.trainedSteps)).toEqual(Object.fromEntries(whole.trainedSteps));
    expect(valuesOf(resumed.model.constants)).toEqual(valuesOf(whole.model.constants));
  });

  test("a limit of memory splits the batches of a resumed run as before, whatever trains by then", async () => {
    // Selects a convolution, the Gemm, a convolution.
    const trial = { mode: "lwpn", memoryLimit: 5, seed: 5 } as const;
    const engine = planningEngine();
    const whole = await trainByPlan(jobOf(trial), { ...throughout, engine });
    const storage = memoryStorage();
    const stopping = { ...stoppingIn(3), engine };
    await expect(trainByPlan(jobOf({ ...trial, storage }), stopping)).rejects.toMatchObject({ code: "ABORTED" });
    const resumed = await trainByPlan(jobOf({ ...trial, storage, resume: true }), { ...throughout, engine });
    expect(valuesOf(resumed.model.constants)).toEqual(valuesOf(whole.model.constants));
  });

  test("a later selection that needs more memory than the first has its batches in more micro-batches, and back", async () => {
    // Selects the Gemm, a convolution, the Gemm.
    const trial = { mode: "lwpn", memoryLimit: batch, seed: 11 } as const;
    const planned: number[] = [];
    const notes: string[] = [];
    const engine = planningEngine((megabytes) => void (megabytes > 0 && planned.push(megabytes)));
    const limited = await trainByPlan(jobOf(trial), { ...throughout, engine, onNote: (note) => notes.push(note) });
    expect(planned).toEqual([batch, batch, batch]);
    expect(notes).toEqual([
      `From step 2 on, batches of ${batch} are computed in 2 micro-batches, to keep to --memory-limit ${batch}.`,
      `From step 4 on, batches of ${batch} are computed in 1 micro-batch.`,
    ]);
    const { memoryLimit: _, ...free } = trial;
    const unlimited = await trainByPlan(jobOf(free), throughout);
    expect(limited.losses.slice(0, 2)).toEqual(unlimited.losses.slice(0, 2));
    expect(limited.losses[5]).not.toBe(unlimited.losses[5]);
    expect(limited.trainedSteps).toEqual(unlimited.trainedSteps);
  });

  test("variables that are NaN or infinite are not kept as a checkpoint, nor given as the model", async () => {
    const storage = memoryStorage();
    await expect(trainByPlan(jobOf({ storage }), stoppingIn(1))).rejects.toMatchObject({ code: "ABORTED" });
    const job = jobOf({ storage, lr: 1e39, resume: true });
    await expect(trainByPlan({ ...job, steps: 2 }, throughout)).rejects.toThrow(
      /^".+" became (NaN|-?Infinity) by step 2 of 2 \(learning rate 1e\+39\)\. .* Start again with a lower --lr\. The checkpoint, of step 1,/,
    );
    const { checkpoints: _, ...kept } = job;
    await expect(trainByPlan({ ...kept, steps: 1 }, throughout)).rejects.toMatchObject({ code: "DIVERGED" });
    expect(await storage.list()).toContain("variables-1.safetensors");
  });

  test("a run that is stopped lets go of its data", async () => {
    let ended = 0;
    const onEnd = (): void => {
      ended++;
    };
    await expect(trainByPlan(jobOf({ onEnd }), stoppingIn(2))).rejects.toMatchObject({ code: "ABORTED" });
    expect(ended).toBe(1);
  });

  test("a loss that is NaN names the step, the way out and the newest checkpoint, if there is one", async () => {
    const storage = memoryStorage();
    const lr = 1e38;
    await expect(trainByPlan(jobOf({ storage, lr }), throughout)).rejects.toThrow(
      /^Loss became NaN at step \d of 6 \(learning rate 1e\+38\)\. The first value that is not finite is in .* Start again with a lower --lr\.$/,
    );
    await expect(trainByPlan(jobOf({ storage }), stoppingIn(1))).rejects.toMatchObject({ code: "ABORTED" });
    await expect(trainByPlan(jobOf({ storage, lr, resume: true }), throughout)).rejects.toThrow(
      /lower --lr\. The checkpoint, of step 1, goes on with these options alone\.$/,
    );
  });
});
