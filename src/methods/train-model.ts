// Trains a model by a plan, as the options of training say.
import { augmentations } from "../data/augment.ts";
import { type Batch, batches } from "../data/batches.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { checkLabels } from "../evaluate/score.ts";
import type { Graph } from "../ir/graph.ts";
import { classesOf } from "../passes/class-scores.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import type { Context } from "../run/context.ts";
import type { TrainingOptions } from "../training/options.ts";
import { reestimateStatistics } from "../training/reestimate-statistics.ts";
import { scheduleFactor } from "../training/schedule.ts";
import { type PlanSource, type TrainingResult, trainByPlan } from "../training/train-by-plan.ts";
import { stepsPerEpoch } from "./check-training.ts";
import type { MethodData, MethodJob, MethodResult, TrainingRecord } from "./method.ts";

type Job = Omit<MethodJob<TrainingOptions>, "scales">;

export async function trainModel(
  { model, data, options, checkpoints }: Job,
  plan: PlanSource,
  context: Context,
): Promise<MethodResult> {
  const stream = { data, options, seed: context.seed, perEpoch: stepsPerEpoch(options, data.train) };
  const start = selectOutputs(model.graph, model.outputs);
  const follows = options.loss === "distill" || (options.loss === "mse" && !data.train.target);
  const classes = options.loss === "cross-entropy" ? classesOf(start) : Number.POSITIVE_INFINITY;
  const result = await trainByPlan(
    {
      model: start,
      ...(follows ? { teacher: selectOutputs(model.original, model.outputs) } : {}),
      options,
      plan,
      steps: options.steps ?? Math.max(1, Math.round(options.epochs * stream.perEpoch)),
      batches: (from) => trainingBatches(stream, classes, from),
      ...(checkpoints ? { checkpoints } : {}),
    },
    context,
  );
  const trained = await withStatisticsAnew(stream, result.model, context);
  return {
    model: { ...model, graph: { ...trained, outputs: model.graph.outputs } },
    training: recordOf(result, options),
  };
}

function recordOf({ losses, trainedSteps, stepSeconds }: TrainingResult, options: TrainingOptions): TrainingRecord {
  const learningRates = losses.map((_, step) => options.lr * scheduleFactor(options, step, losses.length));
  const samples = losses.map((_, step) => (step + 1) * options.batch);
  return { losses, trainedSteps, stepSeconds, learningRates, samples };
}

/** What batches are drawn from. */
interface Stream {
  readonly data: MethodData;
  readonly options: TrainingOptions;
  readonly seed: number;
  readonly perEpoch: number;
}

/** The epoch that the order of re-estimation is drawn for: none that trains, nor calibration's. */
const statisticsEpoch = -2;

/** With `reestimateStatistics`, statistics of unchanged training samples in a separate seeded order. */
async function withStatisticsAnew({ data, options, seed, perEpoch }: Stream, model: Graph, context: Context) {
  const { train: dataset, preprocess } = data;
  const count = Math.min(Math.ceil(options.reestimateStatistics / options.batch), perEpoch);
  if (count === 0) return model;
  const order = shuffledOrder(dataset.length, seed, statisticsEpoch).slice(0, count * options.batch);
  async function* inputs(): AsyncGenerator<Batch["inputs"]> {
    for await (const batch of batches(dataset, { batchSize: options.batch, preprocess, order })) yield batch.inputs;
  }
  return reestimateStatistics(model, options.batch, inputs(), count * options.batch, context);
}

/** Full batches from step `from` on, epoch after epoch, each in its own order. */
async function* trainingBatches(stream: Stream, classes: number, from: number): AsyncGenerator<Batch> {
  const { data, options, seed, perEpoch } = stream;
  const operations = augmentations.filter((name) => options.augment.includes(name));
  const first = Math.floor(from / perEpoch);
  for (let epoch = first; ; epoch++) {
    const epochBatches = batches(data.train, {
      batchSize: options.batch,
      preprocess: data.preprocess,
      order: shuffledOrder(data.train.length, seed, epoch),
      augment: { operations, seed, epoch },
      dropLast: true,
      start: epoch === first ? from % perEpoch : 0,
    });
    for await (const batch of epochBatches) {
      checkLabels(batch, data.train, classes);
      yield batch;
    }
  }
}
