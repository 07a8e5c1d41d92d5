// What a walk over the units trains, and by what.
import type { UnitInputs } from "../units/train-unit.ts";

/** How the variables that choose between up and down train. */
export interface RoundingTraining {
  readonly learningRate: number;
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
  readonly inputs: UnitInputs;
  /** Whether activations are quantized while units train, and in the units before. */
  readonly activations: "quantized" | "float";
  /** The probability with which an element passes its quantizer by. */
  readonly drop: number;
  /** Of the difference between a unit's output and the float unit's. */
  readonly power: number;
  readonly iterations: number;
}
