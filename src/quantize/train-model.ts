// Trains the quantized model (or the float one) as the method and its options say.
import { augmentations } from "../data/augment.ts";
import { type Batch, batches } from "../data/batches.ts";
import { type Dataset, noLabels } from "../data/dataset.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { checkLabels } from "../evaluate/score.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { methods } from "../methods/index.ts";
import type { Context } from "../training/context.ts";
import { type TrainingResult, train } from "../training/loop.ts";
import { classesOf } from "../training/loss.ts";
import { reestimateStatistics } from "../training/reestimate-statistics.ts";
import type { QuantizeJob } from "./job.ts";

/** Throws BAD_DATA or BAD_OPTION where the data cannot train as the options say. */
export function stepsPerEpoch({ options }: Pick<QuantizeJob, "options">, dataset: Dataset): number {
  if (options.loss === "cross-entropy" && !dataset.hasLabels)
    throw noLabels(dataset, "cross-entropy cannot be its loss. Use --loss distill, which needs none.");
  const steps = Math.floor(dataset.length / options.batch);
  if (steps > 0) return steps;
  throw new FrostbitError(
    "BAD_OPTION",
    `batch is ${options.batch}, but the training data has ${dataset.length} samples. Choose a smaller --batch.`,
  );
}

export async function trainModel(
  job: QuantizeJob,
  method: keyof typeof methods,
  start: Graph,
  float: Graph,
  dataset: Dataset,
  context: Context,
): Promise<TrainingResult> {
  const { options } = job;
  const perEpoch = stepsPerEpoch(job, dataset);
  const result = await train(
    {
      model: start,
      ...(options.loss === "distill" ? { teacher: float } : {}),
      options,
      plan: methods[method](start, options),
      steps: options.steps ?? Math.max(1, Math.round(options.epochs * perEpoch)),
      batches: (from) => trainingBatches(job, dataset, classesOf(start), perEpoch, from),
      ...(job.checkpoints ? { checkpoints: job.checkpoints } : {}),
    },
    context,
  );
  return { ...result, model: await withStatisticsAnew(job, result.model, dataset, perEpoch, context) };
}

/** With `reestimateStatistics`, statistics of unchanged training samples in a seeded order of their own. */
async function withStatisticsAnew(
  { options, preprocess }: QuantizeJob,
  model: Graph,
  dataset: Dataset,
  perEpoch: number,
  context: Context,
): Promise<Graph> {
  const count = Math.min(Math.ceil(options.reestimateStatistics / options.batch), perEpoch);
  if (count === 0) return model;
  const order = shuffledOrder(dataset.length, options.seed, statisticsEpoch).slice(0, count * options.batch);
  async function* inputs(): AsyncGenerator<Batch["inputs"]> {
    for await (const batch of batches(dataset, { batchSize: options.batch, preprocess, order })) yield batch.inputs;
  }
  return reestimateStatistics(model, options.batch, inputs(), count * options.batch, context);
}

/** The epoch that the order of re-estimation is drawn for: none that trains, nor calibration's. */
const statisticsEpoch = -2;

/** Full batches from step `from` on, epoch after epoch, each in an order of its own. */
async function* trainingBatches(
  { options, preprocess }: QuantizeJob,
  dataset: Dataset,
  classes: number,
  perEpoch: number,
  from: number,
): AsyncGenerator<Batch> {
  const operations = augmentations.filter((name) => options.augment.includes(name));
  const first = Math.floor(from / perEpoch);
  for (let epoch = first; ; epoch++) {
    const epochBatches = batches(dataset, {
      batchSize: options.batch,
      preprocess,
      order: shuffledOrder(dataset.length, options.seed, epoch),
      augment: { operations, seed: options.seed, epoch },
      dropLast: true,
      start: epoch === first ? from % perEpoch : 0,
    });
    for await (const batch of epochBatches) {
      checkLabels(batch, dataset.name, classes);
      yield batch;
    }
  }
}
