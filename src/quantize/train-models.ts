// Methods that train one after the other: each goes on from what the one before it gave.
import type { Dataset } from "../data/dataset.ts";
import type { Graph } from "../ir/graph.ts";
import type { Context } from "../run/context.ts";
import type { CheckpointOptions, TrainingResult } from "../training/loop.ts";
import { scheduleFactor } from "../training/schedule.ts";
import type { QuantizeJob } from "./job.ts";
import { trainModel } from "./train-model.ts";

/** What the methods did together. */
export interface TrainedModel extends TrainingResult {
  /** Of weights, by step. */
  readonly learningRates: readonly number[];
  /** Samples seen until then, by step: the methods may have batches of different sizes. */
  readonly samples: readonly number[];
}

/** Each method has checkpoints of its own: resumed, those that are done do no step. */
export async function trainModels(
  job: QuantizeJob,
  start: Graph,
  float: Graph,
  dataset: Dataset,
  context: Context,
): Promise<TrainedModel> {
  let whole: TrainedModel | undefined;
  for (const [index, options] of [job.options, ...(job.later ?? [])].entries()) {
    const { method } = options;
    if (method === "ptq") throw new Error("internal: ptq trains nothing");
    const checkpoints = job.checkpoints ? { checkpoints: checkpointsOf(job.checkpoints, index) } : {};
    const before = whole?.model ?? start;
    const result = await trainModel({ ...job, options, ...checkpoints }, method, before, float, dataset, context);
    const rates = result.losses.map((_, step) => options.lr * scheduleFactor(options, step, result.losses.length));
    const seen = whole?.samples.at(-1) ?? 0;
    const samples = result.losses.map((_, step) => seen + (step + 1) * options.batch);
    const trained = { ...result, learningRates: rates, samples };
    whole = whole ? joined(whole, trained) : trained;
  }
  if (!whole) throw new Error("internal: no method trains");
  return whole;
}

/** The files of the methods after the first are told apart by a prefix. */
function checkpointsOf(checkpoints: CheckpointOptions, index: number): CheckpointOptions {
  if (index === 0) return checkpoints;
  const prefix = `method-${index + 1}-`;
  const { storage } = checkpoints;
  return {
    ...checkpoints,
    storage: {
      read: (name) => storage.read(prefix + name),
      write: (name, bytes) => storage.write(prefix + name, bytes),
      remove: (name) => storage.remove(prefix + name),
      list: async () =>
        (await storage.list()).filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
    },
  };
}

function joined(first: TrainedModel, second: TrainedModel): TrainedModel {
  const steps = new Map(first.trainedSteps);
  for (const [weight, counts] of second.trainedSteps)
    steps.set(
      weight,
      counts.map((count, row) => count + (first.trainedSteps.get(weight)?.[row] ?? 0)),
    );
  return {
    model: second.model,
    losses: [...first.losses, ...second.losses],
    trainedSteps: steps,
    stepSeconds: [...first.stepSeconds, ...second.stepSeconds],
    learningRates: [...first.learningRates, ...second.learningRates],
    samples: [...first.samples, ...second.samples],
  };
}
