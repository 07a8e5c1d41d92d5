// Trains one unit to give what the float unit gives, and says what became of it.
import type { Graph } from "../ir/graph.ts";
import { numbersOf, tensorOf } from "../ir/tensor.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { betaAt } from "../rounding/rounding-schedule.ts";
import { hardIntegers, offsetOf } from "../rounding/soft-rounding.ts";
import type { Context } from "../run/context.ts";
import type { ScheduledInputs } from "../training/loop.ts";
import { scheduleFactor } from "../training/schedule.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { UnitData } from "../units/optimize-units.ts";
import { trainUnit } from "../units/train-unit.ts";
import { channelLoss } from "./loss.ts";
import { applyOutcome, nothingChanged, type Outcome } from "./outcome.ts";
import type { Phase } from "./phase.ts";
import { dropQuantization, roundingsOf, type SoftRounding, softenWeights, undecidedShare } from "./soft-unit.ts";
import { unitError } from "./unit-error.ts";
import {
  betaInput,
  lambdaInput,
  roundingParameters,
  roundingRateInput,
  stepParameters,
  stepRateInput,
} from "./update-rules.ts";

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
}

export interface UnitJob {
  readonly data: UnitData;
  readonly float: Graph;
  readonly phase: Phase;
  readonly batch: number;
  /** Samples at the end of all that nothing is fitted to; a whole number of batches. */
  readonly heldOut: number;
}

export interface ReconstructedUnit {
  readonly outcome: Outcome;
  /** Absent where nothing of the unit trains. */
  readonly record: UnitRecord | undefined;
}

export async function reconstructUnit(job: UnitJob, context: Context): Promise<ReconstructedUnit> {
  const { data, batch, heldOut } = job;
  const roundings = job.phase.rounding ? roundingsOf(data, job.float) : [];
  const trained = await trainSoftUnit(job, roundings, context);
  if (!trained) return { outcome: nothingChanged, record: undefined };
  const samples = Array.from({ length: heldOut }, (_, i) => data.samples - heldOut + i);
  const errorOf = (model: Graph): Promise<number> => unitError(model, data, samples, batch, context);
  const before = await errorOf(data.quantized);
  const after = await errorOf(applyOutcome(data.quantized, trained.outcome));
  const kept = after > before ? "before" : "trained";
  const record: UnitRecord = { unit: data.unit.name, before, after, kept, undecided: trained.undecided };
  return { outcome: kept === "trained" ? trained.outcome : nothingChanged, record };
}

interface Trained {
  readonly outcome: Outcome;
  readonly undecided: number;
}

/** `undefined` where nothing of the unit trains. */
async function trainSoftUnit(
  { data, phase, batch, heldOut }: UnitJob,
  roundings: readonly SoftRounding[],
  context: Context,
): Promise<Trained | undefined> {
  const stepsOf = (unit: Graph) => (phase.stepRate === undefined ? [] : stepParameters(unit));
  const parametersOf = (unit: Graph) => [...roundingParameters(roundings), ...stepsOf(unit)];
  const { unit, quantized, own } = data;
  const cut = cutUnit(setBatchSize(quantized, batch), unit.inputs, unit.outputs);
  if (roundings.length === 0 && !stepsOf(cut).some(({ name }) => own.has(name))) return undefined;
  const prepare = (unit: Graph): Graph => {
    const soft = softenWeights(unit, roundings);
    return phase.drop > 0 && phase.activations === "quantized" ? dropQuantization(soft, phase.drop) : soft;
  };
  const { values } = await trainUnit(
    {
      data: { ...data, samples: data.samples - heldOut },
      inputs: phase.inputs,
      loss: channelLoss(cut, phase.power),
      prepare,
      parametersOf,
      scheduled: scheduleOf(phase),
      steps: phase.iterations,
      batch,
      checkpointEvery: Number.POSITIVE_INFINITY,
    },
    context,
  );
  return hardened(roundings, values);
}

function hardened(
  roundings: readonly SoftRounding[],
  values: Awaited<ReturnType<typeof trainUnit>>["values"],
): Trained {
  const variables = new Set(roundings.map(({ variable }) => variable));
  const numbers = roundings.map(({ variable }) =>
    Float64Array.from(numbersOf(values.get(variable) ?? missing(variable))),
  );
  const integers = roundings.map(({ quantizer, weights }, i) => {
    const chosen = hardIntegers(weights, numbers[i]);
    return [quantizer.output, tensorOf("int16", [chosen.length], chosen)] as const;
  });
  const steps = [...values].filter(([name]) => !variables.has(name));
  const undecided = undecidedShare(numbers.map((each) => each.map(offsetOf)));
  return { outcome: { integers: new Map(integers), steps: new Map(steps) }, undecided };
}

function missing(variable: string): never {
  throw new Error(`internal: "${variable}" did not train`);
}

function scheduleOf({ rounding, stepRate = 0, iterations }: Phase): ScheduledInputs {
  const cosine = { schedule: "cosine", warmup: 0, milestones: [], decay: 1 } as const;
  const steps = [stepRateInput, (step: number) => stepRate * scheduleFactor(cosine, step, iterations)] as const;
  if (!rounding) return new Map([steps]);
  const beta = (step: number): number | undefined => betaAt(step + 1, { ...rounding, iterations });
  return new Map([
    steps,
    [roundingRateInput, () => rounding.learningRate],
    [lambdaInput, (step) => (beta(step) === undefined ? 0 : rounding.lambda)],
    [betaInput, (step) => beta(step) ?? rounding.betaStart],
  ]);
}
