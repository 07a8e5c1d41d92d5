// How far a model's output is from another model's, over many samples.
import { isFloat } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import { numbersOf, type Tensor, toNumbers } from "../ir/tensor.ts";
import { type Difference, difference, joinDifferences, noDifference, sqnrDb } from "./difference.ts";
import { argmax } from "./score.ts";

/** Sums over the samples so far. */
export interface Distance {
  difference: Difference;
  agreeing: number;
  compared: number;
}

/** How far one output of a model is from another model's. */
export interface OutputDistance {
  readonly name: string;
  /** 10 log₁₀ of the reference's energy over the difference's, in dB. Infinite where nothing differs, and for whole numbers. */
  readonly sqnrDb: number;
  /**
   * Of class scores: the share of samples whose largest is the same. Of whole numbers: the share that is equal. Of other
   * outputs: absent.
   */
  readonly agreement?: number;
}

export const noDistance = (): Distance => ({ difference: noDifference, agreeing: 0, compared: 0 });

/** How many classes an output of shape [samples, classes] tells apart, whatever axes of size 1 follow; else `undefined`. */
function classesOf({ shape: [, classes, ...rest] }: Tensor): number | undefined {
  return classes > 1 && rest.every((size) => size === 1) ? classes : undefined;
}

/** Adds a batch's output, in both models of the same shape. `mayBeScores`: whether floats of their shape are class scores. */
export function addDistance(total: Distance, expected: Tensor, actual: Tensor, mayBeScores = true): void {
  assert(String(expected.shape) === String(actual.shape), `outputs are [${expected.shape}] and [${actual.shape}]`);
  if (isFloat(expected.dtype)) addFloats(total, expected, actual, mayBeScores ? classesOf(expected) : undefined);
  else addEqual(total, toNumbers(expected), toNumbers(actual));
}

function addFloats(total: Distance, expected: Tensor, actual: Tensor, classes: number | undefined): void {
  const [a, b] = [numbersOf(expected), numbersOf(actual)];
  total.difference = joinDifferences(total.difference, difference(a, b));
  if (classes === undefined) return;
  for (let start = 0; start < a.length; start += classes)
    if (argmax(a, start, classes) === argmax(b, start, classes)) total.agreeing++;
  total.compared += expected.shape[0];
}

function addEqual(total: Distance, a: readonly number[], b: readonly number[]): void {
  for (const [i, value] of a.entries()) if (value === b[i]) total.agreeing++;
  total.compared += a.length;
}

export const distanceOf = (name: string, { difference: sum, agreeing, compared }: Distance): OutputDistance => ({
  name,
  sqnrDb: sqnrDb(sum),
  ...(compared > 0 && { agreement: agreeing / compared }),
});
