// Trains a model by a plan of rows, as QAT and EfQAT do: which rows of each weight train is chosen again during training.
import { z } from "zod";
import type { Batch } from "../data/batches.ts";
import type { Variables } from "../engines/engine.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { ClassPlace } from "../passes/class-scores.ts";
import { type LinearLayer, layersByWeight, weightsOf } from "../quantizers/linear-layers.ts";
import type { Context } from "../run/context.ts";
import type { CheckpointOptions } from "./checkpoint.ts";
import { type FreezingPlan, planFromJson, planToJson, rowsOf, shapeOfPlan } from "./freezing-plan.ts";
import { type Scheduled, type ScheduledInputs, type StepRequest, type Trainer, train } from "./loop.ts";
import { labelsInput, targetInput } from "./loss.ts";
import { microBatchesThatFit } from "./memory-limit.ts";
import type { Optimizer } from "./optimizer.ts";
import type { TrainingOptions } from "./options.ts";
import {
  buildPlannedStep,
  learningRateInput,
  type PlannedStepOptions,
  type PlanShape,
  qparamLearningRateInput,
} from "./planned-step.ts";
import { qparamOptionsOf, qparamRateOf } from "./qparam-training.ts";
import { scheduleFactor } from "./schedule.ts";
import { rowsInput } from "./step.ts";

/** What trains: chosen again every `refreshEvery` samples from the current weights. */
export interface PlanSource {
  readonly refreshEvery: number;
  readonly select: (weights: ReadonlyMap<string, Tensor>, draw: number) => FreezingPlan;
}

export interface TrainingJob {
  readonly model: Graph;
  /** The float model, for "distill", and for "mse" without targets. */
  readonly teacher?: Graph;
  readonly options: TrainingOptions;
  /** Where the class scores lie that "cross-entropy" and "distill" are of; absent: where they are likely to. */
  readonly classes?: ClassPlace | undefined;
  readonly plan: PlanSource;
  readonly steps: number;
  /** Full batches from step `start` on. */
  readonly batches: (start: number) => AsyncIterable<Batch>;
  /** Of a step's samples, along their first axis; absent: that of the model's inputs. */
  readonly lengthAt?: ((step: number) => number) | undefined;
  readonly checkpoints?: CheckpointOptions;
}

/** What training gives. */
export interface TrainingResult {
  /** The model with the trained values as its constants. */
  readonly model: Graph;
  /** Of each step. */
  readonly losses: readonly number[];
  /** By weight: the steps in which each row trained. */
  readonly trainedSteps: ReadonlyMap<string, readonly number[]>;
  /** Seconds spent in steps, by step, of this process alone. */
  readonly stepSeconds: readonly number[];
}

/** What a checkpoint holds of a run by a plan. */
const planState = z.object({
  plan: z.record(z.string(), z.union([z.string(), z.array(z.number())])),
  /** Per weight and row, the steps in which the row trained. */
  trainedSteps: z.record(z.string(), z.array(z.int())),
});
type PlanState = z.infer<typeof planState>;

/** Throws ABORTED after the step in progress when `context.signal` fires, with a checkpoint written; DIVERGED at a NaN loss. */
export async function trainByPlan(job: TrainingJob, context: Context): Promise<TrainingResult> {
  const { model, options, steps, checkpoints } = job;
  const { state, ...result } = await train(
    {
      model,
      steps,
      batch: options.batch,
      batches: (start) => inputsOfBatches(job.batches(start)),
      begin: (saved) => planTrainer(job, context, saved),
      stateSchema: planState,
      checkpoints,
      checkpointEvery: options.checkpointEvery,
      phase: "train",
      divergence: {
        where: `learning rate ${options.lr}`,
        remedy: `Start again with a lower --lr${context.precision === "mixed" ? narrowHint : ""}.`,
      },
    },
    context,
  );
  return { ...result, trainedSteps: new Map(Object.entries(state.trainedSteps)) };
}

const narrowHint = ", or --precision float32: mixed keeps values of the forward pass in float16, up to 65504";

/** What a step is fed of each batch. */
export async function* inputsOfBatches(batches: AsyncIterable<Batch>): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  for await (const { inputs, labels, target } of batches) {
    const all = new Map(inputs);
    if (labels) all.set(labelsInput, labels);
    if (target) all.set(targetInput, target);
    yield all;
  }
}

interface Run {
  readonly job: TrainingJob;
  readonly context: Context;
  /** Each weight once. */
  readonly layers: readonly LinearLayer[];
  readonly trainedSteps: Map<string, number[]>;
  /** By what is compiled, the micro-batches in which its batches fit into memory. */
  readonly fitting: Map<string, number>;
  /** Micro-batches of a batch, of what is compiled. */
  microBatches: number;
  plan: FreezingPlan;
}

function planTrainer(job: TrainingJob, context: Context, saved: PlanState | undefined): Trainer<PlanState> {
  const run: Run = {
    job,
    context,
    layers: layersByWeight(job.model),
    trainedSteps: new Map(Object.entries(saved?.trainedSteps ?? {})),
    fitting: new Map(),
    microBatches: job.options.accumulate,
    plan: saved ? planFromJson(saved.plan) : job.plan.select(weightsOf(job.model), 0),
  };
  return {
    beforeStep: (step, variables) => nextStep(run, step, variables),
    scheduled: scheduledInputs(run),
    afterStep: () => countTrainedSteps(run),
    state: () => ({ plan: planToJson(run.plan), trainedSteps: Object.fromEntries(run.trainedSteps) }),
  };
}

/** Selects again when `refreshEvery` samples have passed since the last selection; freezes statistics when it is time. */
async function nextStep(run: Run, step: number, variables: Variables): Promise<StepRequest> {
  const { plan, options, steps } = run.job;
  const drawAt = (at: number): number => Math.floor((at * options.batch) / plan.refreshEvery);
  if (step > 0 && drawAt(step) !== drawAt(step - 1)) {
    const weights = new Map<string, Tensor>();
    for (const { weight } of run.layers) weights.set(weight, await variables.read(weight));
    run.plan = plan.select(weights, drawAt(step));
  }
  // Who knows the data has replaced "auto" by a number.
  const share = options.freezeStatistics === "auto" ? 1 : options.freezeStatistics;
  const freezesStatistics = step >= share * steps && share < 1;
  return requestOf(run, step, shapeOfPlan(run.plan), freezesStatistics);
}

/** Another choice of rows is the same step graph; another choice of layers, statistics that freeze, or another length is another. */
function requestOf(run: Run, step: number, shape: PlanShape, freezesStatistics: boolean): StepRequest {
  const { job, context, fitting } = run;
  const key = JSON.stringify([[...shape], freezesStatistics]);
  const length = job.lengthAt?.(step);
  const stepOf = (microBatches: number) =>
    buildPlannedStep(job.model, { ...stepOptionsOf(job, microBatches, shape, freezesStatistics), length });
  const build: StepRequest["build"] = async () => {
    // By the plan alone, so that a resumed run has the micro-batches of the run that it goes on with.
    const microBatches = fitting.get(key) ?? (await microBatchesThatFit(job.options, stepOf, context));
    fitting.set(key, microBatches);
    if (microBatches !== run.microBatches) context.onNote?.(noteOfMicroBatches(job.options, step, microBatches));
    run.microBatches = microBatches;
    return stepOf(microBatches);
  };
  return { key, variant: length?.toString(), build };
}

const noteOfMicroBatches = (options: TrainingOptions, step: number, count: number): string =>
  `${step === 0 ? "Batches" : `From step ${step} on, batches`} of ${options.batch} are computed in ${count} micro-batch${count === 1 ? "" : "es"}${count > options.accumulate ? `, to keep to --memory-limit ${options.memoryLimit}` : ""}.`;

export function stepOptionsOf(
  { options, teacher, classes }: Pick<TrainingJob, "options" | "teacher" | "classes">,
  microBatches: number,
  plan: PlanShape,
  freezesStatistics: boolean,
): PlannedStepOptions {
  const optimizer: Optimizer =
    options.optimizer === "sgd"
      ? { kind: "sgd", momentum: options.momentum, weightDecay: options.weightDecay }
      : { kind: options.optimizer, weightDecay: options.weightDecay };
  return {
    batchSize: options.batch / microBatches,
    loss: options.loss,
    classes,
    optimizer,
    qparams: qparamOptionsOf(options.qparamTraining, optimizer),
    plan,
    microBatches,
    freezesStatistics,
    clipNorm: options.clipNorm,
    ...(teacher ? { teacher } : {}),
  };
}

/** Learning rates, and the rows that train of each weight. */
function scheduledInputs(run: Run): ScheduledInputs {
  const { options, steps } = run.job;
  const rate = (most: number) => (step: number) => most * scheduleFactor(options, step, steps);
  return new Map<string, Scheduled>([
    [learningRateInput, rate(options.lr)],
    [qparamLearningRateInput, rate(qparamRateOf(options))],
    ...run.layers.map(({ weight }) => [rowsInput(weight), () => indicesOf(run.plan.get(weight))] as const),
  ]);
}

function indicesOf(rows: "all" | "none" | Int32Array | undefined): Tensor {
  const list = rows instanceof Int32Array ? rows : new Int32Array();
  return { dtype: "int64", shape: [list.length], data: BigInt64Array.from(list, BigInt) };
}

function countTrainedSteps({ job: { model }, layers, trainedSteps, plan }: Run): void {
  for (const { weight, rowAxis } of layers) {
    const rows = Number(model.values.get(weight)?.shape[rowAxis]);
    const counts = trainedSteps.get(weight) ?? new Array<number>(rows).fill(0);
    for (const row of rowsOf(plan.get(weight) ?? "all", rows)) counts[row]++;
    trainedSteps.set(weight, counts);
  }
}
