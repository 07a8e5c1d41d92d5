// Trains the quantized model (or the float one) as the method and its options say.
import { augmentations } from "../data/augment.ts";
import { type Batch, batches } from "../data/batches.ts";
import { type Dataset, noLabels } from "../data/dataset.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { checkLabels } from "../evaluate/score.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { noteOfIdlePlan } from "../methods/efqat/efqat.ts";
import type { EfqatOptions } from "../methods/efqat/options.ts";
import { methods } from "../methods/index.ts";
import { classesOf, floatOutputs, logitsOf } from "../passes/class-scores.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import { weightsOf } from "../quantizers/linear-layers.ts";
import type { Context } from "../run/context.ts";
import { type PlanSource, type TrainingResult, train } from "../training/loop.ts";
import { reestimateStatistics } from "../training/reestimate-statistics.ts";
import type { QuantizeJob } from "./job.ts";

/** Throws BAD_DATA, BAD_MODEL or BAD_OPTION where model and data cannot train as the options say. */
export function checkTraining(job: Pick<QuantizeJob, "options">, float: Graph, dataset: Dataset): void {
  const { loss } = job.options;
  if (loss === "cross-entropy" && !dataset.hasLabels) throw withoutClasses(dataset);
  if (loss === "mse") checkTarget(job, float, dataset);
  else logitsOf(float);
  stepsPerEpoch(job, dataset);
}

function withoutClasses(dataset: Dataset): FrostbitError {
  const { name, target } = dataset;
  if (!target)
    return noLabels(
      dataset,
      "cross-entropy cannot be its loss. Follow the float model with --loss distill, or with --loss mse where the outputs are no class scores.",
    );
  return new FrostbitError(
    "BAD_DATA",
    `The labels of "${name}" are ${target.dtype}; the cross-entropy loss needs class indices. Save them as whole numbers, or use --loss mse if they are what the output should be.`,
  );
}

function checkTarget({ options }: Pick<QuantizeJob, "options">, float: Graph, { name, target }: Dataset): void {
  const [output] = floatOutputs(float);
  if (output === undefined)
    throw new FrostbitError(
      "BAD_MODEL",
      `loss is mse, but no output of the model is a float: ${float.outputs.join(", ")}.`,
    );
  if (!target) return;
  const shape = float.values.get(output)?.shape ?? [];
  const fits = shape.length === target.shape.length + 1 && target.shape.every((size, i) => size === shape[i + 1]);
  if (!fits)
    throw new FrostbitError(
      "BAD_DATA",
      `Output "${output}" is [${shape.join(", ")}]; the labels of "${name}" are [samples, ${target.shape.join(", ")}]. Name the output they belong to with --outputs, or give no labels, so that --loss mse follows the float model.`,
    );
  if (options.augment.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `augment is ${options.augment.join(",")}, which changes images but not the labels of "${name}", tensors that the output should be. Leave --augment out.`,
    );
}

/** Throws BAD_OPTION where there is not one. */
export function stepsPerEpoch({ options }: Pick<QuantizeJob, "options">, dataset: Dataset): number {
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
  const classes =
    options.loss === "cross-entropy" ? classesOf(selectOutputs(start, options.outputs)) : Number.POSITIVE_INFINITY;
  const plan = methods[method](start, options);
  if (method === "efqat") noteIdlePlan(plan, start, options, context);
  const result = await train(
    {
      model: selectOutputs(start, options.outputs),
      ...(options.loss === "distill" || (options.loss === "mse" && !dataset.target)
        ? { teacher: selectOutputs(float, options.outputs) }
        : {}),
      options,
      plan,
      steps: options.steps ?? Math.max(1, Math.round(options.epochs * perEpoch)),
      batches: (from) => trainingBatches(job, dataset, classes, perEpoch, from),
      ...(job.checkpoints ? { checkpoints: job.checkpoints } : {}),
    },
    context,
  );
  const model = await withStatisticsAnew(job, result.model, dataset, perEpoch, context);
  return { ...result, model: { ...model, outputs: start.outputs } };
}

function noteIdlePlan(plan: PlanSource, start: Graph, options: EfqatOptions, context: Context): void {
  const note = noteOfIdlePlan(plan.select(weightsOf(start), 0), options);
  if (note !== undefined) context.onNote?.(note);
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
      checkLabels(batch, dataset, classes);
      yield batch;
    }
  }
}
