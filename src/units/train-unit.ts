// Optimizes one unit of a quantized network against the float unit: parameters train until it gives what the float unit gives.
import { z } from "zod";
import { shareOf } from "../data/batches.ts";
import { randomBits } from "../data/random.ts";
import { shuffledOrder } from "../data/sampler.ts";
import type { Variables } from "../engines/engine.ts";
import type { Builder } from "../ir/builder.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { withShape } from "../ir/joined-tensor.ts";
import type { Tensor } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import type { Context } from "../run/context.ts";
import type { CheckpointOptions } from "../training/checkpoint.ts";
import { type ScheduledInputs, type StepRequest, type Trainer, train } from "../training/loop.ts";
import { squaredError } from "../training/loss.ts";
import { makeVariables } from "../training/make-variables.ts";
import { buildStep, type Step, type TrainedParameter } from "../training/step.ts";
import type { SpareArrays } from "./activation-cache.ts";
import { cutUnit } from "./cut-unit.ts";
import type { UnitData } from "./optimize-units.ts";
import { randomCounterInput, randomCounters } from "./random-counters.ts";

/** quantized, float: of that stream. mixed: each element of the quantized stream with this probability, else of the float one. */
export type UnitInputs = "quantized" | "float" | { readonly mixed: number };

/**
 * Adds the loss of a unit whose nodes `build` holds; `targets`: by output of the unit that its layers compute, the input that
 * holds what the float unit gives. What else it needs are inputs that `scheduled` feeds.
 */
export type UnitLoss = (build: Builder, unit: Graph, targets: ReadonlyMap<string, string>) => string;

export interface UnitTraining {
  readonly data: UnitData;
  readonly inputs: UnitInputs;
  readonly loss: UnitLoss;
  /** What the loss is fed besides targets, of the samples of a step. */
  readonly lossInputs?: (samples: Int32Array) => Promise<ReadonlyMap<string, Tensor>>;
  /** Gives the unit as it trains, from the one that is cut out of the quantized model; absent: as it is. */
  readonly prepare?: (unit: Graph) => Graph;
  /** Of the unit as it trains: the parameters that do. Of the model's constants, the unit's own alone. */
  readonly parametersOf: (unit: Graph) => readonly TrainedParameter[];
  /** Learning rates, and every other input that the loss has added. */
  readonly scheduled: ScheduledInputs;
  readonly steps: number;
  /** Samples of a step. */
  readonly batch: number;
  /** Micro-batches that a batch is computed in. */
  readonly accumulate: number;
  readonly clipNorm?: number;
  /** In a storage of the unit's own. */
  readonly checkpoints?: CheckpointOptions;
  readonly checkpointEvery: number;
  /** Called after every so many steps but the last ones, with the parameters as they are by then. */
  readonly watch?: { readonly every: number; readonly see: (values: ReadonlyMap<string, Tensor>) => void };
}

export interface TrainedUnit {
  /** The whole quantized model with the unit's parameters as they were trained. */
  readonly quantized: Graph;
  /** Every parameter that trained, by name: those that `prepare` added among them. */
  readonly values: ReadonlyMap<string, Tensor>;
  /** Of each step. */
  readonly losses: readonly number[];
}

/** The sum over the targets of the mean of (output − target)². */
export const reconstructionError: UnitLoss = (build, _, targets) =>
  [...targets]
    .map(([output, target]) => squaredError(build, output, target))
    .reduce((sum, error) => build.node("Add", [sum, error]));

/** Throws ABORTED, DIVERGED and, where there are fewer samples than a batch, BAD_OPTION. */
export async function trainUnit(job: UnitTraining, given: Context): Promise<TrainedUnit> {
  const context = job.accumulate === 1 ? alone(given) : given;
  const { data, steps, batch, accumulate, checkpointEvery, checkpoints } = job;
  const { unit, quantized, samples } = data;
  if (samples < batch)
    throw new FrostbitError(
      "BAD_OPTION",
      `Unit "${unit.name}" has ${samples} samples to train with; expected at least the ${batch} of a step.`,
    );
  const cut = cutUnit(setBatchSize(quantized, batch / accumulate), unit.inputs, unit.outputs);
  const prepared = job.prepare ? job.prepare(cut) : cut;
  const model = typeof job.inputs === "string" ? prepared : mixInputs(prepared, mixedInputs(job), job.inputs.mixed);
  const samplesOf = sampler(job, context);
  const result = await train(
    {
      model,
      steps,
      batch,
      batches: (start) => batchesOf(job, samplesOf, start),
      ...(data.isInPlace && !job.lossInputs
        ? { seriesOf: (start: number, count: number) => seriesOf(job, samplesOf, start, count) }
        : {}),
      begin: (saved) => unitTrainer(job, model, context.seed, saved),
      stateSchema: unitState,
      checkpoints,
      checkpointEvery,
      phase: `train ${unit.name}`,
      divergence: { where: `unit "${unit.name}"`, remedy: "Start again with lower learning rates." },
    },
    context,
  );
  const values = new Map(
    ownParameters(job, model).map(({ name }) => {
      const value = result.model.constants.get(name);
      assert(value, `"${name}" is not a constant of the unit`);
      return [name, value];
    }),
  );
  const ofModel = [...values].filter(([name]) => quantized.constants.has(name));
  const constants = new Map([...quantized.constants, ...ofModel]);
  return { quantized: { ...quantized, constants }, values, losses: result.losses };
}

/** Each of several processes computes batches of one part by itself. */
const alone = ({ communicator: _, ...context }: Context): Context => context;

const unitState = z.object({ unit: z.string() });
type UnitState = z.infer<typeof unitState>;

function unitTrainer(job: UnitTraining, model: Graph, seed: number, saved: UnitState | undefined): Trainer<UnitState> {
  const { name } = job.data.unit;
  if (saved && saved.unit !== name)
    throw new FrostbitError(
      "BAD_OPTION",
      `The checkpoint is of unit "${saved.unit}"; expected one of unit "${name}". Give each unit its own storage.`,
    );
  const every = job.watch?.every ?? Number.POSITIVE_INFINITY;
  const scheduled = new Map([...job.scheduled, ...randomCounters(model, seed, job.data.index)]);
  const names = ownParameters(job, model).map((parameter) => parameter.name);
  const beforeStep = async (step: number, variables: Variables): Promise<StepRequest> => {
    if (step > 0 && step % every === 0) job.watch?.see(await readAll(variables, names));
    return { key: name, build: () => stepOf(job, model), steps: every - (step % every) };
  };
  return { beforeStep, scheduled, state: () => ({ unit: name }) };
}

async function readAll(variables: Variables, names: readonly string[]): Promise<ReadonlyMap<string, Tensor>> {
  const values = new Map<string, Tensor>();
  for (const name of names) values.set(name, await variables.read(name));
  return values;
}

const ownParameters = ({ data, parametersOf }: UnitTraining, model: Graph): readonly TrainedParameter[] =>
  parametersOf(model).filter(({ name }) => data.own.has(name) || !data.quantized.constants.has(name));

const targetInput = (output: string): string => `frostbit/target:${output}`;

function stepOf(job: UnitTraining, model: Graph): Step {
  const { unit } = job.data;
  const parameters = ownParameters(job, model);
  const { graph, initial } = makeVariables(
    model,
    parameters.map(({ name }) => name),
  );
  return buildStep({
    forward: graph,
    start: initial,
    loss: (build, forward) => {
      const targets = unit.targets.map(
        (output) => [output, build.input(targetInput(output), build.type(output))] as const,
      );
      return job.loss(build, forward, new Map(targets));
    },
    parameters,
    clipNorm: job.clipNorm,
    microBatches: job.accumulate,
  });
}

/**
 * Epoch after epoch, each in its own order; a step's samples follow from the seed, the unit and the step. A batch is valid until the
 * next but one is asked for, which is written over it.
 */
async function* batchesOf(
  job: UnitTraining,
  samplesOf: Sampler,
  start: number,
): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  const spares: readonly SpareArrays[] = [new Map(), new Map()];
  for (let step = start; ; step++) {
    const spare = spares[step % 2];
    const samples = samplesOf(step);
    const besides = (await job.lossInputs?.(samples)) ?? new Map();
    yield new Map([...(await readBatch(job, samples, spare)), ...besides]);
  }
}

/** This process's samples of a step. */
type Sampler = (step: number) => Int32Array;

function sampler({ data, batch }: UnitTraining, { seed, communicator }: Context): Sampler {
  const perEpoch = Math.floor(data.samples / batch);
  let order: { readonly epoch: number; readonly samples: Int32Array } | undefined;
  return (step) => {
    const epoch = Math.floor(step / perEpoch);
    if (order?.epoch !== epoch)
      order = { epoch, samples: shuffledOrder(data.samples, randomBits(seed, data.index), epoch) };
    return shareOf(order.samples.slice((step % perEpoch) * batch, ((step % perEpoch) + 1) * batch), communicator);
  };
}

/** The batches of several steps; samples of all values follow each other. */
async function seriesOf(
  job: UnitTraining,
  samplesOf: Sampler,
  start: number,
  count: number,
): Promise<ReadonlyMap<string, Tensor>> {
  const samples = new Int32Array(count * job.batch);
  for (let i = 0; i < count; i++) samples.set(samplesOf(start + i), i * job.batch);
  const apart = ({ shape }: Tensor): readonly number[] => {
    const axis = shape.findIndex((size) => size > 1);
    return [count, ...shape.map((size, i) => (i === axis ? size / count : size))];
  };
  const all = await readBatch(job, samples);
  return new Map([...all].map(([name, value]) => [name, withShape(value, apart(value))]));
}

/** What the unit's step is fed of samples. */
async function readBatch(
  job: UnitTraining,
  samples: Int32Array,
  spare?: SpareArrays,
): Promise<ReadonlyMap<string, Tensor>> {
  const { data } = job;
  const outputs = await data.outputs(samples, spare);
  const targets = data.unit.targets.map((output) => [targetInput(output), outputs.get(output)] as const);
  const known = targets.flatMap(([name, value]) => (value ? [[name, value] as const] : []));
  return new Map([...(await inputsOf(job, samples, spare)), ...known]);
}

/** Of the float stream as well where both are mixed. */
async function inputsOf(
  { data, inputs }: UnitTraining,
  samples: Int32Array,
  spare?: SpareArrays,
): Promise<ReadonlyMap<string, Tensor>> {
  if (typeof inputs === "string") return data.inputs(inputs, samples, spare);
  const quantized = await data.inputs("quantized", samples, spare);
  const float = await data.inputs("float", samples, spare);
  return new Map([...quantized, ...[...float].map(([name, value]) => [floatInput(name), value] as const)]);
}

const floatInput = (input: string): string => `frostbit/float:${input}`;

/** Floats that differ between the streams. */
const mixedInputs = ({ data: { unit, quantized, same } }: UnitTraining): readonly string[] =>
  unit.inputs.filter((input) => !same.includes(input) && /^float/.test(quantized.values.get(input)?.dtype ?? ""));

/** Each element of these inputs, which are of the quantized stream, with this probability, else of the float one. */
function mixInputs(unit: Graph, inputs: readonly string[], probability: number): Graph {
  const build = buildOn(unit);
  const mixed = new Map(
    inputs.map((input) => {
      const float = build.input(floatInput(input), build.type(input));
      const counter = build.input(randomCounterInput(input), { dtype: "int64", shape: [] });
      return [input, build.node("RandomChoice", [input, float, counter], { probability })];
    }),
  );
  const { nodes, ...rest } = build.graph(unit.outputs);
  const reads = (node: Node): Node => ({ ...node, inputs: node.inputs.map((input) => mixed.get(input) ?? input) });
  return { ...rest, nodes: [...nodes.slice(unit.nodes.length), ...nodes.slice(0, unit.nodes.length).map(reads)] };
}
