// What a file lost against the float model, on the samples that choices are made on.
import type { OutputFidelity } from "../evaluate/fidelity.ts";
import type { Measurement } from "../evaluate/metrics.ts";
import { pairedDifference } from "../evaluate/paired-difference.ts";

/** More is worse; below 0 it gained. */
export interface Drop {
  readonly what: "accuracy" | "mean IoU" | "RMSE" | "noise" | "metric";
  /** In the unit of a metric of one's own; points of accuracy or of mean IoU, per cent of the float model's RMSE, or noise in per cent of the outputs' energy. */
  readonly mean: number;
  /** Standard error of the mean, over the samples. */
  readonly error: number;
}

const hundredfold = (values: readonly number[] = []): readonly number[] => values.map((value) => 100 * value);

/** Where labels judge both. */
export function dropOf(float: Measurement, deployed: Measurement): Drop {
  const [a, b] = [float.bySample, deployed.bySample];
  if (float.metrics.metric && deployed.metrics.metric) {
    const { value, higherIsBetter } = float.metrics.metric;
    const gained = deployed.metrics.metric.value - value;
    const { error } = pairedDifference(a.metric ?? [], b.metric ?? []);
    return { what: "metric", mean: (higherIsBetter ? -1 : 1) * gained, error };
  }
  if (float.metrics.labels === "values") return rmseDrop(float, deployed);
  return float.metrics.meanIou === null
    ? { what: "accuracy", ...pairedDifference(hundredfold(b.accuracy), hundredfold(a.accuracy)) }
    : { what: "mean IoU", ...pairedDifference(hundredfold(b.meanIou), hundredfold(a.meanIou)) };
}

/** √(s + d) − √s is d / (√(s + d) + √s): the error of the squares' difference d gives that of the roots'. */
function rmseDrop(float: Measurement, deployed: Measurement): Drop {
  const [before, after] = [float.metrics.rmse ?? Number.NaN, deployed.metrics.rmse ?? Number.NaN];
  const { error } = pairedDifference(float.bySample.squaredError ?? [], deployed.bySample.squaredError ?? []);
  return {
    what: "RMSE",
    mean: before === after ? 0 : (100 * (after - before)) / before,
    error: error === 0 ? 0 : (100 * error) / ((before + after) * before),
  };
}

/** Where no labels do: of the output that lost most. */
export function noiseOf(outputs: readonly OutputFidelity[]): Drop {
  const drops = outputs.map(({ sqnrDb, noiseBySample }): Drop => {
    const mean = 100 * 10 ** (-sqnrDb / 10);
    const count = Math.max(1, noiseBySample.length);
    const noise = noiseBySample.reduce((sum, value) => sum + value, 0) / count;
    const { error } = pairedDifference(Array<number>(noiseBySample.length).fill(0), noiseBySample);
    return { what: "noise", mean, error: noise > 0 ? (mean * error) / noise : 0 };
  });
  return drops.reduce((worst, drop) => (drop.mean > worst.mean || Number.isNaN(drop.mean) ? drop : worst));
}

/** Whether it surely lost no more than this. */
export const isWithin = ({ mean, error }: Drop, most: number): boolean => mean + error <= most;

/** Whether it surely lost more than this. */
export const isBeyond = ({ mean, error }: Drop, most: number): boolean => !(mean - error <= most);

/** Whether the first lost less, by more than chance does. */
export const isBetter = (first: Drop, second: Drop): boolean =>
  Number.isNaN(second.mean) || first.mean + Math.max(first.error, second.error) < second.mean;
