// E2E-QP (arXiv:2407.11062): the scales of weights train end to end, their integers and zero points stay.
import { z } from "zod";
import type { Dataset } from "../../data/dataset.ts";
import { shuffledOrder } from "../../data/sampler.ts";
import type { Graph } from "../../ir/graph.ts";
import { roundedToHalf } from "../../ir/half.ts";
import { numbersOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import type { ClassPlace } from "../../passes/class-scores.ts";
import { peakBytes } from "../../passes/peak-bytes.ts";
import { selectOutputs } from "../../passes/select-outputs.ts";
import { setBatchSize } from "../../passes/set-batch-size.ts";
import type { Context } from "../../run/context.ts";
import { train } from "../../training/loop.ts";
import { addLoss } from "../../training/loss.ts";
import { makeVariables } from "../../training/make-variables.ts";
import { scheduleFactor } from "../../training/schedule.ts";
import { keepAboveSmallest } from "../../training/smallest-scale.ts";
import { buildStep, type Step, type TrainedParameter, type UpdateRule } from "../../training/step.ts";
import { inputsOfBatches } from "../../training/train-by-plan.ts";
import { optimizerRule } from "../../training/update-rules.ts";
import { cutUnit } from "../../units/cut-unit.ts";
import { cutIntoUnits } from "../../units/units.ts";
import { classesThatTrain } from "../check-training.ts";
import type { MethodJob, MethodModel, MethodResult } from "../method.ts";
import { labelsFor, trainingBatches, withoutLabels } from "../train-model.ts";
import type { E2eQpOptions } from "./options.ts";
import { addSlicedCrossEntropy, type SlicedLoss } from "./sliced-loss.ts";
import { type StoredIntegers, storeIntegers, withScales } from "./stored-integers.ts";

const rateInput = "frostbit/learning_rate";

export async function e2eQp(
  { model, data, options, checkpoints }: MethodJob<E2eQpOptions>,
  context: Context,
): Promise<MethodResult> {
  const stored = storeIntegers(model.graph, model.float);
  const subset = chosenSamples(data.train, options.trainingSamples, context.seed);
  const perEpoch = Math.max(1, Math.floor(subset.length / options.batch));
  const steps = options.steps ?? Math.max(1, Math.round(options.epochs * perEpoch));
  const rate = options.lr ?? defaultRate(stored, steps);
  const start = selectOutputs(stored.graph, model.outputs);
  const classes = classesThatTrain(start, subset, options.loss);
  const stream = {
    data: { ...data, train: subset },
    options: { ...options, augment: [] },
    seed: context.seed,
    perEpoch,
    share: context.communicator,
  };
  const prepare = options.loss === "cross-entropy" ? labelsFor(subset, classes) : withoutLabels;
  const rateAt = (step: number): number => rate * scheduleFactor(schedule(options), step, steps);
  const request = { key: "step", build: () => stepOf(model, stored, options, classes) };
  const result = await train(
    {
      model: start,
      steps,
      batch: options.batch,
      batches: (from) => inputsOfBatches(trainingBatches(stream, prepare, from)),
      begin: () => ({
        beforeStep: async () => request,
        scheduled: new Map([[rateInput, rateAt]]),
        state: () => ({}),
      }),
      stateSchema: z.object({}),
      checkpoints,
      checkpointEvery: options.checkpointEvery,
      phase: "train",
      divergence: { where: `learning rate ${rate}`, remedy: "Start again with a lower --lr." },
    },
    context,
  );
  const graph = withScales(model.graph, stored, roundedScales(stored, result.model, options));
  return {
    model: { ...model, graph },
    training: {
      losses: result.losses,
      stepSeconds: result.stepSeconds,
      trainedSteps: new Map(),
      learningRates: result.losses.map((_, step) => rateAt(step)),
      samples: result.losses.map((_, step) => (step + 1) * options.batch),
    },
  };
}

const schedule = ({ warmup }: E2eQpOptions) => ({ schedule: "cosine", warmup, milestones: [], decay: 1 }) as const;

/** So many samples of the data, drawn by the seed. */
function chosenSamples(train: Dataset, count: number, seed: number): Dataset {
  if (count >= train.length) return train;
  const order = shuffledOrder(train.length, seed, chosenEpoch).slice(0, count);
  return { ...train, length: count, read: (indices) => train.read(indices.map((index) => order[index])) };
}

/** The epoch that the order of the choice is drawn for: none that trains. */
const chosenEpoch = -3;

/** Scales may move by a fifth of their mean. */
function defaultRate(stored: StoredIntegers, steps: number): number {
  const scales = scaleNames(stored).flatMap((name) => Array.from(numbersOf(constant(stored.graph, name))));
  return (0.2 * scales.reduce((sum, scale) => sum + scale, 0)) / scales.length / steps;
}

const scaleNames = ({ weights }: StoredIntegers): readonly string[] => [
  ...new Set([...weights.values()].map(({ scale }) => scale)),
];

function constant({ constants }: Graph, name: string): Tensor {
  const value = constants.get(name);
  if (!value) throw new Error(`internal: "${name}" is not a constant`);
  return value;
}

type StepModel = Pick<MethodModel, "original" | "float" | "outputs">;
type StepOptions = Pick<E2eQpOptions, "loss" | "batch" | "accumulate" | "clipNorm" | "recompute">;

/** A step of a micro-batch, or of a whole batch. */
export function stepOf(
  model: StepModel,
  stored: StoredIntegers,
  options: StepOptions,
  classes: ClassPlace | undefined,
): Step {
  if (options.recompute !== "auto") return stepThat(options.recompute === "always", model, stored, options, classes);
  const step = stepThat(false, model, stored, options, classes);
  return peakBytes(step.graph) > heldBytes ? stepThat(true, model, stored, options, classes) : step;
}

/** Activations of all layers that may be in memory at once. */
const heldBytes = 2 ** 29;

function stepThat(
  recomputes: boolean,
  { original, float, outputs }: StepModel,
  stored: StoredIntegers,
  { loss, batch, accumulate, clipNorm }: StepOptions,
  classes: ClassPlace | undefined,
): Step {
  const size = batch / accumulate;
  const names = scaleNames(stored);
  const { graph, initial } = makeVariables(selectOutputs(stored.graph, outputs), names);
  const forward = setBatchSize(graph, size);
  const teacher = loss === "distill" ? setBatchSize(selectOutputs(original, outputs), size) : undefined;
  let slices: SlicedLoss["slices"] = [];
  return buildStep({
    forward,
    start: initial,
    loss: (build) => {
      const sliced = recomputes && loss === "cross-entropy" && addSlicedCrossEntropy(build, forward, classes);
      if (!sliced) return addLoss(build, forward, { loss, classes, ...(teacher && { teacher }) });
      slices = sliced.slices;
      return sliced.loss;
    },
    parameters: names.map((name) => parameterOf(name, constant(stored.graph, name))),
    clipNorm,
    microBatches: accumulate,
    ...(recomputes && { recomputed: () => [...partsOf(forward, float), ...slices] }),
  });
}

/** Of each part of the network, the names of its nodes. */
const partsOf = (forward: Graph, float: Graph): readonly ReadonlySet<string>[] =>
  cutIntoUnits(float, "part").map(
    ({ inputs, outputs }) =>
      new Set(cutUnit(forward, [...inputs, ...forward.variables], outputs).nodes.map(({ name }) => name)),
  );

function parameterOf(name: string, start: Tensor): TrainedParameter {
  const { state, next } = optimizerRule({ kind: "adam", weightDecay: 0 });
  const rule: UpdateRule = {
    state,
    next: (build, step) => keepAboveSmallest(build, name, start, next(build, step)),
  };
  return { name, rule, learningRate: rateInput, trains: "all", isClipped: true };
}

function roundedScales(
  stored: StoredIntegers,
  trained: Graph,
  { scaleType }: E2eQpOptions,
): ReadonlyMap<string, Tensor> {
  return new Map(
    scaleNames(stored).map((name) => {
      const { dtype, shape, data } = constant(trained, name);
      const values = Array.from(data as Float32Array, (scale) =>
        scaleType === "float16" ? roundedToHalf(scaleType, scale) : scale,
      );
      return [name, tensorOf(dtype, shape, values)];
    }),
  );
}
