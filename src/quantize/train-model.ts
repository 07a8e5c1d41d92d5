// Trains the quantized model (or the float one) as the method and its options say.
import { augmentations } from "../data/augment.ts";
import { type Batch, batches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { methods } from "../methods/index.ts";
import type { Context } from "../training/context.ts";
import { type TrainingResult, train } from "../training/loop.ts";
import type { QuantizeJob } from "./job.ts";

export async function trainModel(
  job: QuantizeJob,
  method: keyof typeof methods,
  start: Graph,
  float: Graph,
  dataset: Dataset,
  context: Context,
): Promise<TrainingResult> {
  const { options } = job;
  if (options.loss === "cross-entropy" && !dataset.hasLabels)
    throw new FrostbitError(
      "BAD_DATA",
      `Dataset "${dataset.name}" has no labels, which the cross-entropy loss needs. Give labels, or use --loss distill.`,
    );
  const perEpoch = Math.floor(dataset.length / options.batch);
  if (perEpoch === 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `batch is ${options.batch}, but the training data has ${dataset.length} samples. Choose a smaller --batch.`,
    );
  return train(
    {
      model: start,
      ...(options.loss === "distill" ? { teacher: float } : {}),
      options,
      plan: methods[method](start, options),
      steps: options.steps ?? Math.max(1, Math.round(options.epochs * perEpoch)),
      batches: (from) => trainingBatches(job, dataset, perEpoch, from),
      ...(job.checkpoints ? { checkpoints: job.checkpoints } : {}),
    },
    context,
  );
}

/** Full batches from step `from` on, epoch after epoch, each in an order of its own. */
async function* trainingBatches(
  { options, preprocess }: QuantizeJob,
  dataset: Dataset,
  perEpoch: number,
  from: number,
): AsyncGenerator<Batch> {
  const operations = augmentations.filter((name) => options.augment.includes(name));
  const first = Math.floor(from / perEpoch);
  for (let epoch = first; ; epoch++) {
    yield* batches(dataset, {
      batchSize: options.batch,
      preprocess,
      order: shuffledOrder(dataset.length, options.seed, epoch),
      augment: { operations, seed: options.seed, epoch },
      dropLast: true,
      start: epoch === first ? from % perEpoch : 0,
    });
  }
}
