// Runs training steps: batches in, variables updated, selections renewed, checkpoints written.
import type { Batch } from "../data/batches.ts";
import type { Storage } from "../data/storage.ts";
import type { Executable, Program, Variables } from "../engines/engine.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, scalar, type Tensor } from "../ir/tensor.ts";
import { type LinearLayer, layersByWeight, weightsOf } from "../quantizers/linear-layers.ts";
import type { Context } from "../run/context.ts";
import { trainingOptions } from "../run/with-program.ts";
import { loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { type FreezingPlan, planFromJson, planToJson, rowsOf, shapeOfPlan } from "./freezing-plan.ts";
import { labelsInput, targetInput } from "./loss.ts";
import { partsThatFit } from "./memory-limit.ts";
import type { Optimizer } from "./optimizer.ts";
import type { TrainingOptions } from "./options.ts";
import { qparamOptionsOf, qparamRateOf } from "./qparam-training.ts";
import { scheduleFactor } from "./schedule.ts";
import {
  buildStep,
  learningRateInput,
  type PlanShape,
  qparamLearningRateInput,
  type Step,
  type StepOptions,
} from "./step.ts";

/** What trains: chosen anew every `refreshEvery` samples from the weights as they are. */
export interface PlanSource {
  readonly refreshEvery: number;
  readonly select: (weights: ReadonlyMap<string, Tensor>, draw: number) => FreezingPlan;
}

export interface TrainingJob {
  readonly model: Graph;
  /** The float model, for "distill", and for "mse" without targets. */
  readonly teacher?: Graph;
  readonly options: TrainingOptions;
  readonly plan: PlanSource;
  readonly steps: number;
  /** Full batches from step `start` on. */
  readonly batches: (start: number) => AsyncIterable<Batch>;
  readonly checkpoints?: CheckpointOptions;
}

/** Where a run's checkpoints go, and whether it goes on from one. */
export interface CheckpointOptions {
  /** Takes named bytes; a folder, memory, or a browser's private files. */
  readonly storage: Storage;
  /** What the run is of; a checkpoint of another is refused. */
  readonly fingerprint: string;
  /** Whether to go on from the newest checkpoint there, if there is one. */
  readonly resume: boolean;
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

/** Throws ABORTED after the step in progress when `context.signal` fires, with a checkpoint written; DIVERGED at a NaN loss. */
export async function train(job: TrainingJob, context: Context): Promise<TrainingResult> {
  const run = await startRun(job, context);
  try {
    await compilePlan(run);
    await runSteps(run);
    const model = await withTrainedValues(run);
    return { model, losses: run.losses, trainedSteps: run.trainedSteps, stepSeconds: run.stepSeconds };
  } finally {
    await release(run);
    run.variables.dispose();
  }
}

interface Compiled {
  readonly key: string;
  /** That a batch is computed in. */
  readonly parts: number;
  readonly step: Step;
  readonly executables: readonly Executable[];
  readonly program: Program;
  /** Steps by the gradients of the parts, where a batch has several. */
  readonly apply: Program | undefined;
}

interface Run {
  readonly job: TrainingJob;
  readonly context: Context;
  /** Each weight once. */
  readonly layers: readonly LinearLayer[];
  readonly variables: Variables;
  readonly losses: number[];
  readonly trainedSteps: Map<string, number[]>;
  readonly stepSeconds: number[];
  step: number;
  /** The step of the newest checkpoint. */
  saved: number | undefined;
  plan: FreezingPlan;
  /** By what is compiled, the parts that its batches fit into memory in. */
  readonly parts: Map<string, number>;
  compiled: Compiled | undefined;
}

async function startRun(job: TrainingJob, context: Context): Promise<Run> {
  const saved = job.checkpoints?.resume
    ? await loadCheckpoint(job.checkpoints.storage, job.checkpoints.fingerprint)
    : undefined;
  if (job.checkpoints?.resume)
    context.onNote?.(
      saved
        ? `Resumed at step ${saved.state.step} of ${job.steps}.`
        : "There is no checkpoint to resume: training starts at step 0.",
    );
  return {
    job,
    context,
    layers: layersByWeight(job.model),
    variables: await context.engine.variables(saved?.variables ?? new Map()),
    losses: saved ? [...saved.state.losses] : [],
    trainedSteps: new Map(Object.entries(saved?.state.trainedSteps ?? {})),
    stepSeconds: [],
    step: saved?.state.step ?? 0,
    saved: saved?.state.step,
    plan: saved ? planFromJson(saved.state.plan) : job.plan.select(weightsOf(job.model), 0),
    parts: new Map(),
    compiled: undefined,
  };
}

function constantOf(graph: Graph, name: string): Tensor {
  const value = graph.constants.get(name);
  if (!value) throw new Error(`internal: weight "${name}" is no constant`);
  return value;
}

async function release(run: Run): Promise<void> {
  for (const executable of run.compiled?.executables ?? []) await executable.dispose();
  run.compiled = undefined;
}

/** Another choice of rows compiles nothing; another choice of layers, or statistics that freeze, do, after the old program is gone. */
async function compilePlan(run: Run): Promise<void> {
  const { job, context } = run;
  const shape = shapeOfPlan(run.plan);
  const freezesStatistics = run.step >= job.options.freezeStatistics * job.steps && job.options.freezeStatistics < 1;
  const key = JSON.stringify([[...shape], freezesStatistics]);
  if (run.compiled?.key === key) return;
  const before = run.compiled?.parts ?? job.options.accumulate;
  await release(run);
  const optionsOf = (parts: number): StepOptions => stepOptionsOf(job, parts, shape, freezesStatistics);
  // By the plan alone, so that a resumed run has the parts of the run that it goes on with.
  const parts = run.parts.get(key) ?? (await partsThatFit(job.model, job.options, optionsOf, context));
  run.parts.set(key, parts);
  if (parts !== before) context.onNote?.(noteOfParts(run, parts));
  const step = buildStep(job.model, optionsOf(parts));
  await run.variables.add(missingOf(run, step));
  const executables: Executable[] = [];
  for (const graph of step.apply ? [step.graph, step.apply] : [step.graph])
    executables.push(await context.engine.compile(graph, trainingOptions(context)));
  const [program, apply] = executables.map((executable) => executable.bind(run.variables));
  run.compiled = { key, parts, step, executables, program, apply };
}

const noteOfParts = ({ step, job: { options } }: Run, parts: number): string =>
  `${step === 0 ? "Batches" : `From step ${step} on, batches`} of ${options.batch} are computed in ${parts} part${parts === 1 ? "" : "s"}${parts > options.accumulate ? `, to keep to --memory-limit ${options.memoryLimit}` : ""}.`;

/** At first all that a run does not go on with; later sums of gradients, from when its batches first have parts. */
function missingOf({ variables }: Run, { initial }: Step): ReadonlyMap<string, Tensor> {
  const known = new Set(variables.names());
  return new Map([...initial].filter(([name]) => !known.has(name)));
}

export function stepOptionsOf(
  { options, teacher }: Pick<TrainingJob, "options" | "teacher">,
  parts: number,
  plan: PlanShape,
  freezesStatistics: boolean,
): StepOptions {
  const optimizer: Optimizer =
    options.optimizer === "sgd"
      ? { kind: "sgd", momentum: options.momentum, weightDecay: options.weightDecay }
      : { kind: options.optimizer, weightDecay: options.weightDecay };
  return {
    batchSize: options.batch / parts,
    loss: options.loss,
    optimizer,
    qparams: qparamOptionsOf(options.qparamTraining, optimizer),
    plan,
    parts,
    freezesStatistics,
    ...(options.clipNorm === undefined ? {} : { clipNorm: options.clipNorm }),
    ...(teacher ? { teacher } : {}),
  };
}

async function runSteps(run: Run): Promise<void> {
  const { job } = run;
  const iterator = job.batches(run.step)[Symbol.asyncIterator]();
  try {
    await stepThrough(run, iterator);
  } finally {
    await iterator.return?.();
  }
}

async function stepThrough(run: Run, iterator: AsyncIterator<Batch>): Promise<void> {
  const { job } = run;
  let next = run.step < job.steps ? iterator.next() : undefined;
  while (run.step < job.steps) {
    const { value: batch } = (await next) ?? {};
    if (!batch) throw new FrostbitError("BAD_DATA", `The training data ended at step ${run.step} of ${job.steps}.`);
    await refresh(run);
    const started = performance.now();
    const running = runStep(run, batch);
    // The next batch is prepared while the engine works on this one.
    next = run.step + 1 < job.steps ? iterator.next() : undefined;
    next?.catch(() => undefined);
    await finishStep(run, await running);
    run.stepSeconds.push((performance.now() - started) / 1000);
  }
}

/** Selects again when `refreshEvery` samples have passed since the last selection; freezes statistics when it is time. */
async function refresh(run: Run): Promise<void> {
  const { plan, options } = run.job;
  const drawAt = (step: number): number => Math.floor((step * options.batch) / plan.refreshEvery);
  if (run.step > 0 && drawAt(run.step) !== drawAt(run.step - 1)) {
    const weights = new Map<string, Tensor>();
    for (const { weight } of run.layers) weights.set(weight, await run.variables.read(weight));
    run.plan = plan.select(weights, drawAt(run.step));
  }
  await compilePlan(run);
}

/** Gives the mean loss. */
async function runStep(run: Run, batch: Batch): Promise<number> {
  const { compiled } = run;
  if (!compiled) throw new Error("internal: no step is compiled");
  const { parts, step } = compiled;
  let loss = 0;
  for (let part = 0; part < parts; part++) {
    const inputs = inputsOf(run, compiled, step.graph, batch, part);
    const outputs = await compiled.program.run(inputs, { fetch: [step.loss] });
    loss += numbersOf(outputs.get(step.loss) ?? scalar("float32", Number.NaN))[0] / parts;
  }
  if (step.apply) await compiled.apply?.run(inputsOf(run, compiled, step.apply, batch, 0));
  return loss;
}

/** What a graph of the step takes: a part of the batch, learning rates and rows. */
function inputsOf(
  run: Run,
  { parts, step }: Compiled,
  graph: Graph,
  batch: Batch,
  part: number,
): ReadonlyMap<string, Tensor> {
  const { options, steps } = run.job;
  const factor = scheduleFactor(options, run.step, steps);
  const all = new Map<string, Tensor>();
  for (const [name, value] of batch.inputs) all.set(name, partOf(value, part, parts));
  if (batch.labels) all.set(labelsInput, partOf(batch.labels, part, parts));
  if (batch.target) all.set(targetInput, partOf(batch.target, part, parts));
  const rate = (name: string, value: number): void =>
    void all.set(name, scalar(graph.values.get(name)?.dtype ?? "float32", value * factor));
  rate(learningRateInput, options.lr);
  rate(qparamLearningRateInput, qparamRateOf(options));
  for (const [weight, input] of step.rowInputs) all.set(input, indicesOf(run.plan.get(weight)));
  return new Map([...all].filter(([name]) => graph.inputs.includes(name)));
}

/** The samples of one of `parts` equal parts. */
function partOf(value: Tensor, part: number, parts: number): Tensor {
  if (parts === 1) return value;
  const [samples, ...rest] = value.shape;
  const length = value.data.length / parts;
  return {
    dtype: value.dtype,
    shape: [samples / parts, ...rest],
    data: value.data.slice(part * length, (part + 1) * length),
  };
}

function indicesOf(rows: "all" | "none" | Int32Array | undefined): Tensor {
  const list = rows instanceof Int32Array ? rows : new Int32Array();
  return { dtype: "int64", shape: [list.length], data: BigInt64Array.from(list, BigInt) };
}

async function finishStep(run: Run, loss: number): Promise<void> {
  const { job, context } = run;
  if (!Number.isFinite(loss)) throw diverged(run, `Loss became ${loss} at`);
  run.losses.push(loss);
  run.step++;
  for (const { weight, rowAxis } of run.layers) {
    const counts =
      run.trainedSteps.get(weight) ?? new Array<number>(constantOf(job.model, weight).shape[rowAxis]).fill(0);
    for (const row of rowsOf(run.plan.get(weight) ?? "all", counts.length)) counts[row]++;
    run.trainedSteps.set(weight, counts);
  }
  context.onProgress?.({
    phase: "train",
    done: run.step * job.options.batch,
    total: job.steps * job.options.batch,
    loss,
    note: `loss ${recentLoss(run.losses).toFixed(4)}`,
  });
  const stopped = context.signal?.aborted === true;
  if (stopped || run.step % job.options.checkpointEvery === 0 || run.step === job.steps) await checkpoint(run);
  if (stopped)
    throw new FrostbitError(
      "ABORTED",
      `Stopped after step ${run.step} of ${job.steps}.${job.checkpoints ? " Go on with --resume." : ""}`,
    );
}

/** A run that is resumed has the same learning rate: a checkpoint is no way out. */
function diverged({ job, context, step, saved }: Run, what: string): FrostbitError {
  const kept = saved === undefined ? "" : ` The checkpoint, of step ${saved}, goes on with these options alone.`;
  const narrow =
    context.precision === "mixed"
      ? ", or --precision float32: mixed keeps values of the forward pass in float16, up to 65504"
      : "";
  return new FrostbitError(
    "DIVERGED",
    `${what} step ${step} of ${job.steps} (learning rate ${job.options.lr}). Start again with a lower --lr${narrow}.${kept}`,
  );
}

/** Throws DIVERGED where one holds what is no number: the loss, computed before the update, does not tell. */
async function readVariable(run: Run, name: string): Promise<Tensor> {
  const value = await run.variables.read(name);
  const broken = numbersOf(value).find((each) => !Number.isFinite(each));
  if (broken === undefined) return value;
  throw diverged(run, `"${name}" became ${broken} by`);
}

function recentLoss(losses: readonly number[]): number {
  const last = losses.slice(-20);
  return last.reduce((sum, loss) => sum + loss, 0) / last.length;
}

async function checkpoint(run: Run): Promise<void> {
  const { checkpoints } = run.job;
  if (!checkpoints) return;
  const variables = new Map<string, Tensor>();
  for (const name of run.variables.names()) variables.set(name, await readVariable(run, name));
  await saveCheckpoint(checkpoints.storage, {
    variables,
    state: {
      fingerprint: checkpoints.fingerprint,
      step: run.step,
      losses: run.losses,
      plan: planToJson(run.plan),
      trainedSteps: Object.fromEntries(run.trainedSteps),
    },
  });
  run.saved = run.step;
}

/** The model with each constant that trained replaced by its variable's value. */
async function withTrainedValues(run: Run): Promise<Graph> {
  const { model } = run.job;
  const constants = new Map(model.constants);
  for (const name of run.variables.names()) if (constants.has(name)) constants.set(name, await readVariable(run, name));
  return { ...model, constants };
}
