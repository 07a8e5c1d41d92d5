// Runs training steps: batches and scheduled values in, variables updated, checkpoints written. What trains, and by which step
// graph, is said by whoever calls it, before each step.
import type { z } from "zod";
import type { Communicator } from "../distributed/communicator.ts";
import type { Executable, Program, Variables } from "../engines/engine.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { allocate, numbersOf, scalar, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import type { Context } from "../run/context.ts";
import {
  type Checkpoint,
  type CheckpointOptions,
  loadCheckpoint,
  type OwnState,
  saveCheckpoint,
} from "./checkpoint.ts";
import { type Divergence, findDivergence } from "./find-divergence.ts";
import { type PartValues, sparesOf, stopping, takeValues, valueIn, valuesFor, wishToStop } from "./part-values.ts";
import { type Step, stepOptions } from "./step.ts";
import { treeSum } from "./tree-sum.ts";

/** What an input of the step graph is fed at each step and micro-batch: a number for a scalar of whatever type, else a tensor. */
export type Scheduled = (step: number, microBatch: number) => number | Tensor;

/** By the names of the step graph's inputs; a step graph without an input of that name is not fed it. */
export type ScheduledInputs = ReadonlyMap<string, Scheduled>;

/** The step graph that is to run. */
export interface StepRequest {
  /** While it stays the same, what is compiled is kept. */
  readonly key: string;
  /** Which of the steps of the key, as that of another length; absent: the only one. */
  readonly variant?: string | undefined;
  /** Called when nothing is compiled any more for another key, and not yet for this variant. */
  readonly build: () => Step | Promise<Step>;
  /** How many steps it holds for before the trainer wants to be asked again; one where absent. */
  readonly steps?: number;
}

/** Who decides what trains; created for each run. */
export interface Trainer<Own extends OwnState> {
  /** Called once before each step that the request before does not hold for. At step 0 there are no variables yet. */
  readonly beforeStep: (step: number, variables: Variables) => Promise<StepRequest>;
  readonly scheduled: ScheduledInputs;
  /** Called when a step is done, before its checkpoint. */
  readonly afterStep?: (step: number, loss: number) => void;
  /** What a checkpoint must hold to go on, besides variables, step and losses. */
  readonly state: () => Own;
}

export interface TrainingLoop<Own extends OwnState> {
  /** Whose constants train. */
  readonly model: Graph;
  readonly steps: number;
  /** Samples of a step. */
  readonly batch: number;
  /** What the step graph is fed of this process's share of each batch, from step `start` on: samples along the first axis of every tensor. */
  readonly batches: (start: number) => AsyncIterable<ReadonlyMap<string, Tensor>>;
  /**
   * The same of `count` steps at once, which have one axis more in front: where these take no memory. Engines may run such steps without
   * coming back in between.
   */
  readonly seriesOf?: (start: number, count: number) => Promise<ReadonlyMap<string, Tensor>>;
  /** `saved`: the state at the checkpoint that the run goes on from. */
  readonly begin: (saved: Own | undefined) => Trainer<Own>;
  /** Of the trainer's state in a checkpoint. */
  readonly stateSchema: z.ZodType<Own>;
  readonly checkpoints?: CheckpointOptions | undefined;
  /** Steps between checkpoints. */
  readonly checkpointEvery: number;
  /** What progress calls it. */
  readonly phase: string;
  /** Where a run that diverges stands, as in "learning rate 0.1", and what to do about it, in a sentence. */
  readonly divergence: { readonly where: string; readonly remedy: string };
}

export interface LoopResult<Own extends OwnState> {
  /** The model with the trained values as its constants. */
  readonly model: Graph;
  /** Of each step. */
  readonly losses: readonly number[];
  /** Seconds spent in steps, by step, of this process alone. */
  readonly stepSeconds: readonly number[];
  /** The trainer's, after the last step. */
  readonly state: Own;
}

/** Throws ABORTED after the step in progress when `context.signal` fires, with a checkpoint written; DIVERGED at a NaN loss. */
export async function train<Own extends OwnState>(loop: TrainingLoop<Own>, context: Context): Promise<LoopResult<Own>> {
  const { run, trainer } = await startRun(loop, context, await savedRun(loop, context));
  try {
    if (run.step < loop.steps) await runSteps(run);
    const model = await withTrainedValues(run);
    return { model, losses: run.losses, stepSeconds: run.stepSeconds, state: trainer.state() };
  } finally {
    await release(run);
    run.variables.dispose();
  }
}

async function startRun<Own extends OwnState>(
  loop: TrainingLoop<Own>,
  context: Context,
  saved: Checkpoint<Own> | undefined,
): Promise<{ run: Run; trainer: Trainer<Own> }> {
  const trainer = loop.begin(saved?.own);
  const { checkpoints, stateSchema } = loop;
  const run: Run = {
    loop,
    context,
    trainer,
    variables: await context.engine.variables(saved?.variables ?? new Map()),
    losses: saved ? [...saved.state.losses] : [],
    stepSeconds: [],
    step: saved?.state.step ?? 0,
    saved: saved?.state.step,
    key: undefined,
    compiled: new Map(),
    again: async (from) => {
      const kept =
        from !== undefined && checkpoints
          ? loadCheckpoint(checkpoints.storage, checkpoints.fingerprint, stateSchema)
          : undefined;
      const { onNote: _, onProgress: __, ...quiet } = context;
      return (await startRun(loop, quiet, await kept)).run;
    },
  };
  return { run, trainer };
}

async function savedRun<Own extends OwnState>(
  { checkpoints, stateSchema, steps }: TrainingLoop<Own>,
  { onNote }: Context,
): Promise<Checkpoint<Own> | undefined> {
  if (!checkpoints?.resume) return undefined;
  const saved = await loadCheckpoint(checkpoints.storage, checkpoints.fingerprint, stateSchema);
  onNote?.(
    saved
      ? `Resumed at step ${saved.state.step} of ${steps}.`
      : "There is no checkpoint to resume: training starts at step 0.",
  );
  return saved;
}

interface Compiled {
  readonly step: Step;
  readonly executables: readonly Executable[];
  readonly program: Program;
  /** For how many steps it is known to serve. */
  readonly steps: number;
  /** Steps by the sums over the micro-batches, where a batch has several. */
  readonly apply: Program | undefined;
  /** What micro-batches gave that was summed, to be written again. */
  readonly free: PartValues[];
}

interface Run {
  readonly loop: Omit<TrainingLoop<OwnState>, "begin" | "stateSchema">;
  readonly context: Context;
  readonly trainer: Trainer<OwnState>;
  readonly variables: Variables;
  readonly losses: number[];
  readonly stepSeconds: number[];
  step: number;
  /** The step of the newest checkpoint. */
  saved: number | undefined;
  /** Of what is compiled. */
  key: string | undefined;
  /** By variant. */
  readonly compiled: Map<string, Compiled>;
  /** The same run once more, from its newest checkpoint, `from`, or from the start. */
  readonly again: (from: number | undefined) => Promise<Run>;
}

async function release(run: Run): Promise<void> {
  for (const { executables } of run.compiled.values()) for (const executable of executables) await executable.dispose();
  run.compiled.clear();
}

/** The program of the step to come, compiled after those of another key are gone. */
async function prepareStep(run: Run): Promise<Compiled> {
  const request = await run.trainer.beforeStep(run.step, run.variables);
  const { key, variant = "", steps = 1 } = request;
  if (run.key !== key) await release(run);
  run.key = key;
  const compiled = { ...(run.compiled.get(variant) ?? (await compileStep(run, request))), steps };
  run.compiled.set(variant, compiled);
  return compiled;
}

async function compileStep(run: Run, { build }: StepRequest): Promise<Omit<Compiled, "steps">> {
  const { variables, context } = run;
  const step = await build();
  await variables.add(missingOf(run, step));
  const executables: Executable[] = [];
  for (const graph of step.apply ? [step.graph, step.apply] : [step.graph])
    executables.push(await context.engine.compile(graph, stepOptions(step, context)));
  const [program, apply] = executables.map((executable) => executable.bind(variables));
  return { step, executables, program, apply, free: [] };
}

/** All that a run does not go on with. */
function missingOf({ variables }: Run, { initial }: Step): ReadonlyMap<string, Tensor> {
  const known = new Set(variables.names());
  return new Map([...initial].filter(([name]) => !known.has(name)));
}

async function runSteps(run: Run): Promise<void> {
  let compiled = await prepareStep(run);
  if (run.loop.seriesOf && compiled.program.runSeries && !compiled.apply) return runStepsInSeries(run, compiled);
  const iterator = run.loop.batches(run.step)[Symbol.asyncIterator]();
  try {
    let next: ReturnType<typeof iterator.next> | undefined = iterator.next();
    while (next) {
      const { value: batch } = await next;
      if (!batch)
        throw new FrostbitError("BAD_DATA", `The training data ended at step ${run.step} of ${run.loop.steps}.`);
      const started = performance.now();
      const running = runStep(run, compiled, batch);
      // The next batch is prepared while the engine works on this one.
      next = run.step + 1 < run.loop.steps ? iterator.next() : undefined;
      next?.catch(() => undefined);
      const { loss, isAnyStopped } = await running;
      await finishSteps(run, [loss], isAnyStopped);
      run.stepSeconds.push((performance.now() - started) / 1000);
      if (next) compiled = await prepareStep(run);
    }
  } finally {
    await iterator.return?.();
  }
}

/** A run that is to stop, or to tell how far it is, waits for so long. */
const secondsOfSeries = 0.1;
const longestSeries = 64;

async function runStepsInSeries(run: Run, first: Compiled): Promise<void> {
  let compiled = first;
  let longest = 1;
  while (run.step < run.loop.steps) {
    const { checkpointEvery, steps } = run.loop;
    const untilCheckpoint = checkpointEvery - (run.step % checkpointEvery);
    const count = Math.min(longest, compiled.steps, untilCheckpoint, steps - run.step);
    const started = performance.now();
    const losses = await runSeries(run, compiled, count);
    const seconds = (performance.now() - started) / 1000 / count;
    await finishSteps(run, losses);
    for (let i = 0; i < count; i++) run.stepSeconds.push(seconds);
    longest = Math.min(longestSeries, Math.max(1, Math.round(secondsOfSeries / seconds)));
    if (run.step < steps) compiled = await prepareStep(run);
  }
}

/** Gives the loss of each step. */
async function runSeries(run: Run, { step, program }: Compiled, count: number): Promise<readonly number[]> {
  const { seriesOf } = run.loop;
  assert(seriesOf && program.runSeries, "steps do not run in series");
  const each = Array.from({ length: count }, (_, i) => scheduledFor(run, step.graph, 0, run.step + i));
  const [first] = each;
  const scheduled = [...first].map(
    ([name, value]) => [name, stacked(each.map((values) => values.get(name) ?? value))] as const,
  );
  const inputs = inputsOf(step.graph, new Map([...(await seriesOf(run.step, count)), ...scheduled]));
  const losses = (await program.runSeries(inputs, [step.loss])).get(step.loss);
  assert(losses, "the step gave no losses");
  return Array.from(numbersOf(losses));
}

interface StepResult {
  /** The mean of all micro-batches'. */
  readonly loss: number;
  /** Of several processes, whether the signal of any had fired when its parts were computed: all stop after the same step. */
  readonly isAnyStopped?: boolean;
}

async function runStep(run: Run, compiled: Compiled, batch: ReadonlyMap<string, Tensor>): Promise<StepResult> {
  const { step, program, apply } = compiled;
  const { communicator, signal } = run.context;
  if (!step.apply || !apply) {
    assert(!communicator, "a batch in one part, and several processes");
    const outputs = await program.run(feedOf(run, step, batch, 0));
    return { loss: numbersOf(outputs.get(step.loss) ?? scalar("float32", Number.NaN))[0] };
  }
  const { first, count } = ownParts(step, communicator);
  const sums = await treeSum(first, count, {
    run: (index) => runPart(run, compiled, batch, index),
    release: (used) => compiled.free.push(used),
  });
  if (communicator) {
    if (signal?.aborted) wishToStop(sums);
    await communicator.sum(sums.all);
  }
  const summed = step.summed.map(({ output, input }) => [input, valueIn(sums, output)] as const);
  await apply.run(inputsOf(step.apply, new Map([...summed, ...scheduledFor(run, step.apply, 0)])));
  const loss = numbersOf(valueIn(sums, step.loss))[0] / step.microBatches;
  compiled.free.push(sums);
  return communicator ? { loss, isAnyStopped: stopping(sums) > 0 } : { loss };
}

/** The micro-batches that this process computes. */
function ownParts(
  { microBatches }: Step,
  { rank, size }: Pick<Communicator, "rank" | "size"> = { rank: 0, size: 1 },
): { readonly first: number; readonly count: number } {
  const count = microBatches / size;
  assert(Number.isInteger(count), `${microBatches} micro-batches for ${size} processes`);
  return { first: rank * count, count };
}

/** What a micro-batch adds to the sums. */
async function runPart(
  run: Run,
  { step, program, free }: Compiled,
  batch: ReadonlyMap<string, Tensor>,
  index: number,
): Promise<PartValues> {
  const inputs = feedOf(run, step, batch, index);
  const values = valuesFor(step, inputs, free);
  takeValues(values, step, index, await program.run(inputs, { spare: sparesOf(values) }));
  return values;
}

/** What the step graph takes of a micro-batch. */
function feedOf(run: Run, step: Step, batch: ReadonlyMap<string, Tensor>, index: number): ReadonlyMap<string, Tensor> {
  const { first, count } = ownParts(step, run.context.communicator);
  const samples = [...batch].map(([name, value]) => [name, microBatchOf(value, index - first, count)] as const);
  return inputsOf(step.graph, new Map([...samples, ...scheduledFor(run, step.graph, index)]));
}

function scheduledFor(run: Run, graph: Graph, microBatch: number, step = run.step): ReadonlyMap<string, Tensor> {
  const values = new Map<string, Tensor>();
  for (const input of graph.inputs) {
    const value = run.trainer.scheduled.get(input)?.(step, microBatch);
    if (value === undefined) continue;
    const dtype = graph.values.get(input)?.dtype ?? "float32";
    values.set(input, typeof value === "number" ? tensorOf(dtype, [], [value]) : value);
  }
  return values;
}

/** Tensors of one type and shape, along a new axis in front. */
function stacked(all: readonly Tensor[]): Tensor {
  const [{ dtype, shape }] = all;
  const size = sizeOf(shape);
  const data = allocate(dtype, all.length * size);
  for (const [i, each] of all.entries()) (data as Float32Array).set(each.data as Float32Array, i * size);
  return { dtype, shape: [all.length, ...shape], data };
}

/** Of what there is, what the graph takes. */
function inputsOf(graph: Graph, all: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor> {
  return new Map(
    graph.inputs.map((input) => {
      const value = all.get(input);
      if (!value) throw new Error(`internal: neither the batch nor a schedule has "${input}", an input of the step`);
      return [input, value];
    }),
  );
}

/** The samples of one of `count` equal micro-batches. */
function microBatchOf(value: Tensor, index: number, count: number): Tensor {
  if (count === 1 || value.shape.length === 0) return value;
  const [samples, ...rest] = value.shape;
  const length = value.data.length / count;
  return {
    dtype: value.dtype,
    shape: [samples / count, ...rest],
    data: value.data.slice(index * length, (index + 1) * length),
  };
}

/** Of steps that are all done, one after the other. */
async function finishSteps(run: Run, losses: readonly number[], isAnyStopped?: boolean): Promise<void> {
  const { loop, context } = run;
  for (const loss of losses) {
    if (!Number.isFinite(loss)) throw await diverged(run, `Loss became ${loss} at`);
    run.losses.push(loss);
    run.trainer.afterStep?.(run.step, loss);
    run.step++;
  }
  context.onProgress?.({
    phase: loop.phase,
    done: run.step * loop.batch,
    total: loop.steps * loop.batch,
    loss: losses[losses.length - 1],
    note: `loss ${recentLoss(run.losses).toFixed(4)}`,
  });
  const isStopped = isAnyStopped ?? context.signal?.aborted === true;
  if (isStopped || run.step % loop.checkpointEvery === 0 || run.step === loop.steps) await checkpoint(run);
  if (isStopped)
    throw new FrostbitError(
      "ABORTED",
      `Stopped after step ${run.step} of ${loop.steps}.${loop.checkpoints ? " Go on with --resume." : ""}`,
    );
}

/** A checkpoint goes on with the same learning rate, so that the remedy is to start again. */
async function diverged(run: Run, what: string): Promise<FrostbitError> {
  const { loop, step, saved } = run;
  const { where, remedy } = loop.divergence;
  const origin = await findOrigin(run);
  const advice = origin && !origin.hasGrown ? noRateHelps : remedy;
  const found = origin ? ` ${origin.what}` : "";
  const kept = saved === undefined ? "" : ` The checkpoint, of step ${saved}, goes on with these options alone.`;
  return new FrostbitError("DIVERGED", `${what} step ${step} of ${loop.steps} (${where}).${found} ${advice}${kept}`);
}

const noRateHelps =
  "There its value or gradient does not exist or is infinite, at any learning rate: keep what it reads away from that, as by a small constant added before it in the model, or leave it out of what the loss depends on (--outputs).";

/** The steps since the newest checkpoint once more, each looked through: variables of the time before are gone. */
async function findOrigin({ again, saved, step, context, loop }: Run): Promise<Divergence | undefined> {
  const run = await again(saved);
  const iterator = loop.batches(run.step)[Symbol.asyncIterator]();
  try {
    while (run.step <= step && run.step < loop.steps && context.signal?.aborted !== true) {
      const compiled = await prepareStep(run);
      const { value: batch } = await iterator.next();
      const before = await readVariables(run);
      const { loss } = await runStep(run, compiled, batch);
      if (!Number.isFinite(loss) || (await hasBroken(run))) return findInStep(run, compiled, batch, before);
      run.trainer.afterStep?.(run.step, loss);
      run.step++;
    }
    return undefined;
  } finally {
    await iterator.return?.();
    await release(run);
    run.variables.dispose();
  }
}

async function readVariables({ variables }: Run): Promise<ReadonlyMap<string, Tensor>> {
  const read = new Map<string, Tensor>();
  for (const name of variables.names()) read.set(name, await variables.read(name));
  return read;
}

const isBroken = (value: Tensor): boolean => numbersOf(value).some((each) => !Number.isFinite(each));

const hasBroken = async (run: Run): Promise<boolean> => [...(await readVariables(run)).values()].some(isBroken);

/** In the first of its micro-batches that has one. */
async function findInStep(
  run: Run,
  { step }: Compiled,
  batch: ReadonlyMap<string, Tensor>,
  before: ReadonlyMap<string, Tensor>,
): Promise<Divergence | undefined> {
  const { first, count } = ownParts(step, run.context.communicator);
  for (let index = first; index < first + count; index++) {
    const found = await findDivergence(step, feedOf(run, step, batch, index), before, run.context);
    if (found) return found;
  }
  return undefined;
}

/** Throws DIVERGED where a value is NaN or infinite: the loss is computed before the update, and does not show it. */
async function readVariable(run: Run, name: string): Promise<Tensor> {
  const value = await run.variables.read(name);
  const broken = numbersOf(value).find((each) => !Number.isFinite(each));
  if (broken === undefined) return value;
  throw await diverged(run, `"${name}" became ${broken} by`);
}

function recentLoss(losses: readonly number[]): number {
  const last = losses.slice(-20);
  return last.reduce((sum, loss) => sum + loss, 0) / last.length;
}

async function checkpoint(run: Run): Promise<void> {
  const { checkpoints } = run.loop;
  if (!checkpoints) return;
  const variables = new Map<string, Tensor>();
  for (const name of run.variables.names()) variables.set(name, await readVariable(run, name));
  await saveCheckpoint(checkpoints.storage, {
    variables,
    state: { fingerprint: checkpoints.fingerprint, step: run.step, losses: run.losses },
    own: run.trainer.state(),
  });
  run.saved = run.step;
}

/** The model with each constant that trained replaced by its variable's value. */
async function withTrainedValues(run: Run): Promise<Graph> {
  const { model } = run.loop;
  const constants = new Map(model.constants);
  for (const name of run.variables.names()) if (constants.has(name)) constants.set(name, await readVariable(run, name));
  return { ...model, constants };
}
