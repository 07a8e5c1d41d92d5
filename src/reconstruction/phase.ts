// What a walk over the units trains, and by what.
import type { UnitInputs } from "../units/train-unit.ts";
import type { Correction } from "./correct-inputs.ts";
import type { UnitLossSettings } from "./loss.ts";
import type { WeightLearning } from "./soft-unit.ts";
import type { WeightTraining } from "./update-rules.ts";

export const rateSchedules = ["constant", "linear", "cosine"] as const;
export type RateSchedule = (typeof rateSchedules)[number];

/** one; the mean of the unit's scales; that over the root of how many inputs or scales a row has, since all of them may move an output one way. */
export type RateUnit = "one" | "scale" | "scale/√inputs" | "scale/√scales";

/** How the weights of a unit learn. */
export interface RoundingTraining extends Omit<WeightLearning, "trainsScale">, Omit<WeightTraining, "keep"> {
  /**
   * Which values count in the end: the last, those at the least loss of a step, or of those after each `validateEvery` steps the ones of
   * the least error on samples held out.
   */
  readonly keep: WeightTraining["keep"] | "validated";
  readonly validateEvery?: number;
  readonly learningRate: number;
  /** From it down, or constant. */
  readonly schedule: RateSchedule;
  /** The share of both rates that a falling schedule ends at; 0 where absent. */
  readonly rateFloor?: number;
  /** What the rates of weights and of their scales are in units of; one where absent. */
  readonly rateUnit?: Readonly<Record<"weights" | "scales", RateUnit>>;
  /** Whether both rates are multiplied by what serves the first unit best. */
  readonly searchesRates?: boolean;
  /** The learning rate at which weights' scales start. Absent: they stay. */
  readonly scaleRate?: number | undefined;
  /** Of the term that drives each weight up or down. */
  readonly lambda: number;
  /** Its exponent: from the first to the last iteration behind the warm-up. */
  readonly betaStart: number;
  readonly betaEnd: number;
  /** Share of the iterations before that term counts. */
  readonly roundingWarmup: number;
}

/** One walk over all units; a method may take several. */
export interface Phase {
  /** Absent: weights keep their integers. */
  readonly rounding?: RoundingTraining;
  /** The learning rate at which steps of activations start; it falls to 0 along half a cosine. Absent: they stay. */
  readonly stepRate?: number;
  /** The same of biases. */
  readonly biasRate?: number;
  /** Whether what normalizations multiply by trains too, at the rate of weights. */
  readonly trainsNorms?: boolean;
  readonly inputs: UnitInputs;
  /** Whether activations are quantized while units train, and in the units before. */
  readonly activations: "quantized" | "float";
  /** The probability with which an element passes its quantizer by. */
  readonly drop: number;
  /** How float inputs are moved before a unit trains; absent: they stay. */
  readonly correction?: Correction | undefined;
  /** Of a unit's output against the float unit's. */
  readonly loss: UnitLossSettings;
  readonly iterations: number;
}
