// Trains a model by a plan, as the options of training say.
import { augmentations } from "../data/augment.ts";
import { type Batch, batches, type Share } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { ignoredLabel, isIgnored } from "../data/labels.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { holdOut } from "../data/split.ts";
import { checkLabels } from "../evaluate/score.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { castTensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { type ClassPlace, floatOutputs } from "../passes/class-scores.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import type { Context } from "../run/context.ts";
import { meanLoss } from "../training/mean-loss.ts";
import type { TrainingOptions } from "../training/options.ts";
import { reestimateStatistics } from "../training/reestimate-statistics.ts";
import { scheduleFactor } from "../training/schedule.ts";
import { type PlanSource, type TrainingResult, trainByPlan } from "../training/train-by-plan.ts";
import { classesThatTrain, isTargetFor, stepsOf, stepsPerEpoch } from "./check-training.ts";
import type { MethodData, MethodJob, MethodResult, TrainingRecord } from "./method.ts";

type Job = Omit<MethodJob<TrainingOptions>, "scales">;

export async function trainModel(
  { model, data, options, checkpoints, isRounded }: Job,
  plan: PlanSource,
  context: Context,
): Promise<MethodResult> {
  const { train, heldOut } = validationSplit(data.train, shareOf(options, data.train, isRounded), context.seed);
  const stream = {
    data: { ...data, train },
    options,
    seed: context.seed,
    perEpoch: stepsPerEpoch(options, train),
    share: context.communicator,
  };
  const start = selectOutputs(model.graph, model.outputs);
  const { loss } = options;
  const hasTarget = loss === "mse" && isTargetFor(start, data.train);
  const classes = loss === "mse" ? undefined : classesThatTrain(start, data.train, loss);
  const prepare =
    loss === "cross-entropy" ? labelsFor(data.train, classes) : hasTarget ? targetFor(start) : withoutLabels;
  const teacher =
    loss === "cross-entropy" || hasTarget ? {} : { teacher: selectOutputs(model.original, model.outputs) };
  const result = await trainByPlan(
    {
      model: start,
      ...teacher,
      options,
      classes,
      plan,
      steps: stepsOf(options, train),
      batches: (from) => trainingBatches(stream, prepare, from),
      ...(checkpoints ? { checkpoints } : {}),
    },
    context,
  );
  const trained = await withStatisticsAnew(stream, options, result.model, context);
  const training = recordOf(result, options);
  const kept = { model: { ...model, graph: { ...trained, outputs: model.graph.outputs } }, training };
  if (!heldOut) return kept;
  const batchSize = Math.min(options.batch, heldOut.length);
  const lossOn = (graph: Graph): Promise<number> => {
    const all = batches(heldOut, {
      batchSize,
      preprocess: data.preprocess,
      dropLast: true,
      part: context.communicator,
    });
    const prepared = (async function* () {
      for await (const batch of all) yield prepare(batch);
    })();
    return meanLoss(graph, { loss, classes, ...teacher }, { batches: prepared, batchSize }, context);
  };
  const [before, after] = [await lossOn(start), await lossOn(trained)];
  if (after < before) return kept;
  const undone = `Training is undone: on ${heldOut.length} training samples held out, the loss was ${before.toPrecision(4)} before it and ${after.toPrecision(4)} after. Try a smaller --lr, --freeze-statistics 0 or --schedule cosine; --validation-share 0 keeps what was trained.`;
  context.onNote?.(undone);
  return { model, training: { ...training, undone } };
}

const automatic = { share: 0.02, least: 256 };

function shareOf({ validationShare }: TrainingOptions, train: Dataset, isRounded: boolean): number {
  if (validationShare !== "auto") return validationShare;
  return isRounded && train.length * automatic.share >= automatic.least ? automatic.share : 0;
}

/** What trains, and what the result is judged by, if anything is. */
function validationSplit(
  train: Dataset,
  share: number,
  seed: number,
): { readonly train: Dataset; readonly heldOut?: Dataset } {
  if (share === 0) return { train };
  const parts = holdOut(train, seed, share);
  return { train: parts.train, heldOut: parts.test };
}

function recordOf({ losses, trainedSteps, stepSeconds }: TrainingResult, options: TrainingOptions): TrainingRecord {
  const learningRates = losses.map((_, step) => options.lr * scheduleFactor(options, step, losses.length));
  const samples = losses.map((_, step) => (step + 1) * options.batch);
  return { losses, trainedSteps, stepSeconds, learningRates, samples };
}

/** What batches are drawn from. */
interface Stream {
  readonly data: MethodData;
  readonly options: Pick<TrainingOptions, "augment" | "batch">;
  readonly seed: number;
  readonly perEpoch: number;
  /** What of each batch this process trains with. */
  readonly share: Share | undefined;
}

/** The epoch that the order of re-estimation is drawn for: none that trains, nor calibration's. */
const statisticsEpoch = -2;

/** With `reestimateStatistics`, statistics of unchanged training samples in a separate seeded order. */
async function withStatisticsAnew(
  { data, seed, perEpoch }: Stream,
  options: TrainingOptions,
  model: Graph,
  context: Context,
) {
  const { train: dataset, preprocess } = data;
  const count = Math.min(Math.ceil(options.reestimateStatistics / options.batch), perEpoch);
  if (count === 0) return model;
  const order = shuffledOrder(dataset.length, seed, statisticsEpoch).slice(0, count * options.batch);
  const sampled = { batchSize: options.batch, preprocess, order, part: context.communicator };
  async function* inputs(): AsyncGenerator<Batch["inputs"]> {
    for await (const batch of batches(dataset, sampled)) yield batch.inputs;
  }
  return reestimateStatistics(model, options.batch, inputs(), count * options.batch, context);
}

/** A batch with what the loss needs of its labels. */
type Prepare = (batch: Batch) => Batch;

export const withoutLabels: Prepare = ({ labels: _, target: __, ...batch }) => batch;

/** Labels of positions that are ignored by custom become the index after the last class. */
export const labelsFor =
  (dataset: Dataset, place: ClassPlace | undefined): Prepare =>
  (batch) => {
    assert(place && batch.labels, "classes train without labels");
    checkLabels(batch, dataset, place.classes);
    const [samples, ...shape] = batch.labels.shape;
    const positions = shape.filter((size) => size !== 1);
    const data = toNumbers(batch.labels).map((label) =>
      isIgnored(label, place.classes) ? ignoredLabel(place) : label,
    );
    return { ...withoutLabels(batch), labels: tensorOf("int64", [samples, ...positions], data) };
  };

/** In the shape of the output; class indices are measured values where the output has one value for each. */
function targetFor(graph: Graph): Prepare {
  const [output] = floatOutputs(graph);
  const [, ...shape] = graph.values.get(output)?.shape ?? [];
  return (batch) => {
    const wanted = batch.target ?? (batch.labels && castTensor(batch.labels, "float32"));
    assert(wanted, "the loss has no target");
    return { ...withoutLabels(batch), target: { ...wanted, shape: [wanted.shape[0], ...shape.map(Number)] } };
  };
}

/** Full batches from step `from` on, epoch after epoch, each in its own order. */
export async function* trainingBatches(stream: Stream, prepare: Prepare, from: number): AsyncGenerator<Batch> {
  const { data, options, seed, perEpoch, share } = stream;
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
      share,
    });
    for await (const batch of epochBatches) yield prepare(batch);
  }
}
