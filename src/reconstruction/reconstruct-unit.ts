// Trains one unit to give what the float unit gives, and says what became of it.
import { randomBits } from "../data/random.ts";
import type { Graph } from "../ir/graph.ts";
import { heldCodes } from "../ir/held-narrow.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { betaAt } from "../rounding/rounding-schedule.ts";
import { offsetOf } from "../rounding/soft-rounding.ts";
import type { Context } from "../run/context.ts";
import type { ScheduledInputs } from "../training/loop.ts";
import { scheduleFactor } from "../training/schedule.ts";
import type { TrainedParameter } from "../training/step.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { UnitData } from "../units/optimize-units.ts";
import { trainUnit } from "../units/train-unit.ts";
import { correctInputs } from "./correct-inputs.ts";
import { fisherWeights } from "./fisher.ts";
import { channelLoss, fisherInput, scoresInput } from "./loss.ts";
import { applyOutcome, nothingChanged, type Outcome } from "./outcome.ts";
import type { Phase, RateSchedule, RateUnit, RoundingTraining } from "./phase.ts";
import { besidesInput, type Predictions } from "./rest.ts";
import type { RateFactors } from "./search-rates.ts";
import {
  dropQuantization,
  learnedParameters,
  learnedWeights,
  type SoftWeights,
  softenWeights,
  undecidedShare,
} from "./soft-unit.ts";
import { unitError } from "./unit-error.ts";
import {
  bestOf,
  betaInput,
  biasParameters,
  biasRateInput,
  lambdaInput,
  normParameters,
  roundingRateInput,
  scaleRateInput,
  stepParameters,
  stepRateInput,
  weightParameters,
} from "./update-rules.ts";
import type { LearnedWeight } from "./weight-variable.ts";
import { variableOf } from "./weight-variables.ts";

/** What became of a unit, for people. */
export interface UnitRecord {
  readonly unit: string;
  /** On samples held out, noise to signal of the unit's outputs: before it trained, and after. */
  readonly before: number;
  readonly after: number;
  /** A unit that training makes worse stays as it was. */
  readonly kept: "trained" | "before";
  /** Share of the weights whose offset was neither 0 nor 1 at the end. */
  readonly undecided: number;
  /** What learning rates were multiplied by, where they were searched for. */
  readonly rates?: RateFactors | undefined;
}

export interface UnitJob {
  readonly data: UnitData;
  readonly float: Graph;
  readonly phase: Phase;
  /** Where the loss is of predictions. */
  readonly predictions?: Predictions | undefined;
  readonly batch: number;
  /** Micro-batches that a step is computed in. */
  readonly accumulate: number;
  /** Samples at the end of all that nothing is fitted to; a whole number of batches. */
  readonly heldOut: number;
  /** Whether errors on these are computed as training steps are. */
  readonly isAsTrained: boolean;
}

export interface ReconstructedUnit {
  readonly outcome: Outcome;
  /** Absent where nothing of the unit trains. */
  readonly record: UnitRecord | undefined;
}

export async function reconstructUnit(job: UnitJob, context: Context): Promise<ReconstructedUnit> {
  const { data, batch, heldOut, isAsTrained } = job;
  const trained = await trainSoftUnit(job, context);
  if (!trained) return { outcome: nothingChanged, record: undefined };
  const samples = Array.from({ length: heldOut }, (_, i) => data.samples - heldOut + i);
  const { isRelative = false } = job.phase.loss;
  const measured = { data, samples, batch, isAsTrained, isRelative };
  const errorOf = (model: Graph): Promise<number> => unitError(model, measured, context);
  const before = await errorOf(data.quantized);
  const [best] = await byError(trained, (each) => errorOf(applyOutcome(data.quantized, each.outcome)));
  const { error: after, of } = best;
  const kept = after > before ? "before" : "trained";
  const record: UnitRecord = { unit: data.unit.name, before, after, kept, undecided: of.undecided };
  return { outcome: kept === "trained" ? of.outcome : nothingChanged, record };
}

/** The least first. */
async function byError<T>(
  all: readonly T[],
  errorOf: (each: T) => Promise<number>,
): Promise<readonly { readonly error: number; readonly of: T }[]> {
  const found: { readonly error: number; readonly of: T }[] = [];
  for (const of of all) found.push({ error: await errorOf(of), of });
  return found.sort((a, b) => a.error - b.error);
}

interface TrainedUnit {
  readonly outcome: Outcome;
  readonly undecided: number;
}

/** What may be kept of it; `undefined` where nothing of the unit trains. */
async function trainSoftUnit(job: UnitJob, context: Context): Promise<readonly TrainedUnit[] | undefined> {
  const { data, float, phase, predictions, batch, accumulate, heldOut } = job;
  const { rounding, stepRate, biasRate, trainsNorms = false, drop, activations } = phase;
  const soft =
    rounding &&
    learnedWeights(
      data,
      float,
      { ...rounding, trainsScale: rounding.scaleRate !== undefined },
      randomBits(context.seed, data.index),
    );
  const besidesWeights = (unit: Graph): readonly TrainedParameter[] => [
    ...(stepRate === undefined ? [] : stepParameters(unit)),
    ...(biasRate === undefined ? [] : biasParameters(unit)),
    ...(trainsNorms ? normParameters(unit) : []),
  ];
  const { unit, quantized, own } = data;
  const cut = cutUnit(setBatchSize(quantized, batch / accumulate), unit.inputs, unit.outputs);
  if (!soft?.weights.length && !besidesWeights(cut).some(({ name }) => own.has(name))) return undefined;
  const prepare = (given: Graph): Graph => {
    const softened = soft ? softenWeights(given, soft) : given;
    const dropped = drop > 0 && activations === "quantized" ? dropQuantization(softened, drop) : softened;
    return soft && keep === "best" ? withBest(dropped, soft) : dropped;
  };
  const keep = rounding?.keep === "best" ? "best" : "last";
  const seen: Values[] = [];
  const samples = data.samples - heldOut;
  const { correction } = phase;
  const shown = correction ? await correctInputs({ data, float, samples, batch, correction }, context) : data;
  const { values } = await trainUnit(
    {
      data: { ...shown, samples },
      inputs: phase.inputs,
      loss: channelLoss(cut, phase.loss, predictions?.rest),
      ...(await scoreInputs(job, context)),
      prepare,
      parametersOf: (given) => [
        ...(soft ? weightParameters(soft, { ...rounding, keep }) : []),
        ...besidesWeights(given),
      ],
      scheduled: scheduleOf(soft && rounding.rateUnit ? inOnes(phase, rounding.rateUnit, soft) : phase),
      steps: phase.iterations,
      batch,
      accumulate,
      checkpointEvery: Number.POSITIVE_INFINITY,
      ...(rounding?.keep === "validated"
        ? { watch: { every: rounding.validateEvery ?? 1, see: (each) => seen.push(each) } }
        : {}),
    },
    context,
  );
  return [values, ...seen].map((each) => hardened(soft, keep, each));
}

type LossInputs = (samples: Int32Array) => Promise<ReadonlyMap<string, Tensor>>;

/** What a loss that looks at the class scores is fed. */
async function scoreInputs(
  { data, phase, predictions, batch, heldOut }: UnitJob,
  context: Context,
): Promise<{ lossInputs?: LossInputs }> {
  if (!predictions) return {};
  const { rest, scores } = predictions;
  const { kind, damping = 1 } = phase.loss;
  if (kind === "prediction")
    return {
      lossInputs: async (samples) => {
        const besides = await data.values("quantized", rest.besides, samples);
        const renamed = [...besides].map(([name, value]) => [besidesInput(name), value] as const);
        return new Map([...renamed, [scoresInput, scores(samples)]]);
      },
    };
  const weights = await fisherWeights({ data, predictions, samples: data.samples - heldOut, batch, damping }, context);
  return {
    lossInputs: async (samples) => new Map([...weights(samples)].map(([name, value]) => [fisherInput(name), value])),
  };
}

/** Constants for the values of each parameter at the least loss. */
function withBest(unit: Graph, soft: SoftWeights): Graph {
  const best = learnedParameters(soft).map(({ name, start }) => [bestOf(name), start] as const);
  const types = best.map(([name, { dtype, shape }]) => [name, { dtype, shape }] as const);
  return {
    ...unit,
    constants: new Map([...unit.constants, ...best]),
    values: new Map([...unit.values, ...types]),
  };
}

type Values = ReadonlyMap<string, Tensor>;

function hardened(soft: SoftWeights | undefined, keep: "last" | "best", values: Values): TrainedUnit {
  const learned = new Set(soft ? learnedParameters(soft).flatMap(({ name }) => [name, bestOf(name)]) : []);
  const trained = (name: string): Float64Array =>
    Float64Array.from(numbersOf(values.get(keep === "best" ? bestOf(name) : name) ?? missing(name)));
  const constants = new Map([...values].filter(([name]) => !learned.has(name)));
  if (!soft) return { outcome: { ...nothingChanged, constants }, undecided: 0 };
  // One weight's floats at a time.
  const hard = soft.weights.map((weight) => {
    const found = variableOf(soft.variable, weight).harden(weight, trained);
    return { ...found, weight, integers: heldCodes(found.integers, [found.integers.length]) };
  });
  const integers = hard.map(({ weight, integers: chosen }) => [weight.quantizer.output, chosen] as const);
  const numbers = (part: "scales" | "zeroPoints" | "levels") =>
    hard.flatMap(({ weight, [part]: found }) =>
      found ? [[weight.quantizer.output, tensorOf(weight.dtype, [found.length], found)] as const] : [],
    );
  const outcome = {
    integers: new Map(integers),
    scales: new Map(numbers("scales")),
    zeroPoints: new Map(numbers("zeroPoints")),
    levels: new Map(numbers("levels")),
    constants,
  };
  return { outcome, undecided: undecidedOf(soft, trained) };
}

/** Of variables that choose between up and down. */
function undecidedOf({ variable, weights }: SoftWeights, trained: (name: string) => Float64Array): number {
  if (variable !== "sigmoid") return 0;
  return undecidedShare(
    weights.map((weight) =>
      trained(weight.variable)
        .filter((_, i) => weight.learns?.[i] !== 0)
        .map(offsetOf),
    ),
  );
}

function missing(variable: string): never {
  throw new Error(`internal: "${variable}" did not train`);
}

const cosine = { schedule: "cosine", warmup: 0, milestones: [], decay: 1 } as const;

/** The share of a learning rate at a step. */
const rateFactors: Readonly<Record<RateSchedule, (step: number, steps: number) => number>> = {
  constant: () => 1,
  linear: (step, steps) => 1 - step / steps,
  cosine: (step, steps) => scheduleFactor(cosine, step, steps),
};

/** Of all scales of the unit's weights. */
function meanScale({ weights }: SoftWeights): number {
  const scales = weights.flatMap((weight) => Array.from(numbersOf(weight.scales)));
  return scales.reduce((sum, scale) => sum + scale, 0) / scales.length;
}

/** Of all rows of the unit's weights, how many a row has of what `countOf` counts. */
function meanOfRows({ weights }: SoftWeights, countOf: (weight: LearnedWeight) => number): number {
  const sum = (of: (weight: LearnedWeight) => number): number =>
    weights.reduce((total, weight) => total + of(weight), 0);
  return sum(countOf) / sum(({ shape, rowAxis }) => shape[rowAxis]);
}

/** The phase with rates that are in units of one. */
function inOnes(phase: Phase, units: NonNullable<RoundingTraining["rateUnit"]>, soft: SoftWeights): Phase {
  const { rounding } = phase;
  if (!rounding) return phase;
  const { learningRate, scaleRate = 0 } = rounding;
  const scale = meanScale(soft);
  const sizes: Readonly<Record<RateUnit, number>> = {
    one: 1,
    scale,
    "scale/√inputs": scale / Math.sqrt(meanOfRows(soft, ({ shape }) => sizeOf(shape))),
    "scale/√scales": scale / Math.sqrt(meanOfRows(soft, ({ scales }) => sizeOf(scales.shape))),
  };
  const rates = { learningRate: learningRate * sizes[units.weights], scaleRate: scaleRate * sizes[units.scales] };
  return { ...phase, rounding: { ...rounding, ...rates } };
}

function scheduleOf({ rounding, stepRate = 0, biasRate = 0, iterations }: Phase): ScheduledInputs {
  const falling =
    (rate: number, how: RateSchedule, floor = 0) =>
    (step: number) =>
      rate * (floor + (1 - floor) * rateFactors[how](step, iterations));
  const besides = [
    [stepRateInput, falling(stepRate, "cosine")],
    [biasRateInput, falling(biasRate, "cosine")],
  ] as const;
  if (!rounding) return new Map(besides);
  const { learningRate, schedule, scaleRate = 0, rateFloor, lambda, betaStart } = rounding;
  const beta = (step: number): number | undefined => betaAt(step + 1, { ...rounding, iterations });
  return new Map([
    ...besides,
    [roundingRateInput, falling(learningRate, schedule, rateFloor)],
    [scaleRateInput, falling(scaleRate, schedule === "constant" ? "cosine" : schedule, rateFloor)],
    [lambdaInput, (step) => (beta(step) === undefined ? 0 : lambda)],
    [betaInput, (step) => beta(step) ?? betaStart],
  ]);
}
