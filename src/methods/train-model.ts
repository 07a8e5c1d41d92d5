// Trains a model by a plan, as the options of training say.
import { augmentations } from "../data/augment.ts";
import { type Batch, batches, type Share } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { ignoredLabel, isIgnored } from "../data/labels.ts";
import { type Buckets, bucketsOf, lengthOfBatch, orderInBuckets } from "../data/lengths.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { holdOut } from "../data/split.ts";
import { checkLabels } from "../evaluate/score.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { castTensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { type ClassPlace, floatOutputs } from "../passes/class-scores.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import type { Context } from "../run/context.ts";
import { meanLoss } from "../training/mean-loss.ts";
import type { TrainingOptions } from "../training/options.ts";
import { reestimateStatistics } from "../training/reestimate-statistics.ts";
import { scheduleFactor } from "../training/schedule.ts";
import { type PlanSource, type TrainingJob, type TrainingResult, trainByPlan } from "../training/train-by-plan.ts";
import { classesThatTrain, isTargetFor, stepsOf, stepsPerEpoch } from "./check-training.ts";
import type { MethodData, MethodJob, MethodResult, TrainingRecord } from "./method.ts";

type Job = Omit<MethodJob<TrainingOptions>, "scales">;

export async function trainModel(
  { model, data, options: given, checkpoints, isRounded }: Job,
  plan: PlanSource,
  context: Context,
): Promise<MethodResult> {
  const { train, heldOut } = validationSplit(data.train, shareOf(given, data.train, isRounded), context.seed);
  const stream = {
    data: { ...data, train },
    options: given,
    seed: context.seed,
    perEpoch: stepsPerEpoch(given, train),
    share: context.communicator,
    buckets: given.memoryLimit === undefined ? bucketsOf(train) : undefined,
  };
  const start = selectOutputs(model.graph, model.outputs);
  noteBuckets(stream, context);
  const { loss } = given;
  const hasTarget = loss === "mse" && isTargetFor(start, data.train);
  const classes = loss === "mse" ? undefined : classesThatTrain(start, data.train, loss);
  const prepare =
    loss === "cross-entropy" ? labelsFor(data.train, classes) : hasTarget ? targetFor(start) : withoutLabels;
  const teacher =
    loss === "cross-entropy" || hasTarget ? {} : { teacher: selectOutputs(model.original, model.outputs) };
  const job = {
    model: start,
    ...teacher,
    classes,
    plan,
    batches: (from: number) => trainingBatches(stream, prepare, from),
    lengthAt: lengthsOf(stream),
  };
  const lossOn = async (graph: Graph, samples: Dataset): Promise<number> => {
    const batchSize = Math.min(given.batch, samples.length);
    const all = batches(samples, {
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
  const trial =
    heldOut && given.trialSteps > 0
      ? await tryRates(job, given, (graph) => lossOn(graph, heldOut), context)
      : undefined;
  const options = { ...given, lr: trial ? bestOf(trial, context) : given.lr };
  const steps = stepsOf(options, train);
  const result = await trainByPlan({ ...job, options, steps, ...(checkpoints ? { checkpoints } : {}) }, context);
  const trained = await withStatisticsAnew(stream, options, result.model, context);
  const training = { ...recordOf(result, options), ...(trial && { trial }) };
  const kept = { model: { ...model, graph: { ...trained, outputs: model.graph.outputs } }, training };
  if (!heldOut) return kept;
  const [before, after] = [await lossOn(start, heldOut), await lossOn(trained, heldOut)];
  if (after < before) return kept;
  const undone = `Training is undone: on ${heldOut.length} training samples held out, the loss was ${before.toPrecision(4)} before it and ${after.toPrecision(4)} after. Try a smaller --lr, --freeze-statistics 0 or --schedule cosine; --validation-share 0 keeps what was trained.`;
  context.onNote?.(undone);
  return { model, training: { ...training, undone } };
}

type Trial = NonNullable<TrainingRecord["trial"]>;

/** Of the learning rate that is given. */
const triedFactors = [0.1, 0.3, 1, 3, 10];

/** What each learning rate comes to in a few steps, from the same start with the same batches. */
async function tryRates(
  job: Omit<TrainingJob, "options" | "steps">,
  options: TrainingOptions,
  lossOf: (graph: Graph) => Promise<number>,
  { onNote: _, onProgress, ...context }: Context,
): Promise<Trial> {
  const trial: Trial[number][] = [];
  for (const factor of triedFactors) {
    const learningRate = Number((factor * options.lr).toPrecision(6));
    const tried = { ...job, options: { ...options, lr: learningRate }, steps: options.trialSteps };
    try {
      const { model } = await trainByPlan(tried, context);
      trial.push({ learningRate, loss: await lossOf(model) });
    } catch (error) {
      if (!(error instanceof FrostbitError) || error.code !== "DIVERGED") throw error;
      trial.push({ learningRate, loss: Number.POSITIVE_INFINITY });
    }
    onProgress?.({ phase: "try learning rates", done: trial.length, total: triedFactors.length });
  }
  return trial;
}

/** The learning rate of least loss; of several, the smallest. */
function bestOf(trial: Trial, { onNote }: Context): number {
  const best = trial.reduce((least, each) => (each.loss < least.loss ? each : least));
  const losses = trial.map(({ learningRate, loss }) => `${learningRate}: ${loss.toPrecision(4)}`);
  onNote?.(`Learning rate ${best.learningRate}, by the loss on samples held out after a trial (${losses.join(", ")}).`);
  return best.learningRate;
}

const automatic = { share: 0.02, least: 256, most: 0.1, leastOfTrial: 1024 };

function shareOf({ validationShare, trialSteps }: TrainingOptions, train: Dataset, isRounded: boolean): number {
  if (validationShare !== "auto") return validationShare;
  if (trialSteps > 0) return Math.min(automatic.most, Math.max(automatic.share, automatic.leastOfTrial / train.length));
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
  /** Absent: all samples as long as they are given. */
  readonly buckets?: Buckets | undefined;
}

/** Of an epoch. */
function orderOf({ data, options: { batch }, seed, buckets }: Stream, epoch: number): Int32Array {
  const order = shuffledOrder(data.train.length, seed, epoch);
  return buckets ? orderInBuckets(order, buckets.lengths, { batch, seed, epoch }) : order;
}

function noteBuckets({ buckets }: Stream, { onNote }: Context): void {
  if (!buckets) return;
  const sizes = new Intl.ListFormat("en", { type: "disjunction" }).format(buckets.sizes.map(String));
  onNote?.(`Batches of training are of samples of similar length, cut to ${sizes} places.`);
}

/** How long the samples of each step are, where they are cut. */
function lengthsOf(stream: Stream): TrainingJob["lengthAt"] {
  const { buckets, perEpoch, options } = stream;
  if (!buckets) return undefined;
  let known: { readonly epoch: number; readonly order: Int32Array } | undefined;
  return (step) => {
    const epoch = Math.floor(step / perEpoch);
    if (known?.epoch !== epoch) known = { epoch, order: orderOf(stream, epoch) };
    const first = (step % perEpoch) * options.batch;
    return lengthOfBatch(known.order.subarray(first, first + options.batch), buckets.lengths, buckets.sizes);
  };
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
  const { data, options, seed, perEpoch, share, buckets } = stream;
  const operations = augmentations.filter((name) => options.augment.includes(name));
  const first = Math.floor(from / perEpoch);
  for (let epoch = first; ; epoch++) {
    const epochBatches = batches(data.train, {
      batchSize: options.batch,
      preprocess: data.preprocess,
      order: orderOf(stream, epoch),
      ...(buckets && { cutTo: buckets.sizes }),
      augment: { operations, seed, epoch },
      dropLast: true,
      start: epoch === first ? from % perEpoch : 0,
      share,
    });
    for await (const batch of epochBatches) yield prepare(batch);
  }
}
