import { expect, test } from "vitest";
import type { BySample, Measurement, Metrics } from "../evaluate/metrics.ts";
import { dropOf, isBetter, isBeyond, isWithin, noiseOf } from "./drop.ts";

const measured = (metrics: Partial<Metrics>, bySample: BySample): Measurement => ({
  metrics: {
    ...{ labels: "classes", samples: 4, classes: 2, top1: null, loss: null, meanIou: null },
    ...{ rmse: null, mae: null, differentLabels: 2 },
    ...metrics,
  },
  bySample,
});

test("points of accuracy, with the standard error of the samples that differ", () => {
  const float = measured({}, { accuracy: [1, 1, 1, 0] });
  const file = measured({}, { accuracy: [1, 1, 0, 0] });
  // Differences 0, 0, 100, 0: mean 25, variance 2500, standard error √(2500 / 4).
  expect(dropOf(float, file)).toEqual({ what: "accuracy", mean: 25, error: 25 });
  expect(dropOf(file, float).mean).toBe(-25);
});

test("mean IoU where each position has a label", () => {
  const float = measured({ meanIou: 80 }, { accuracy: [1, 1], meanIou: [0.8, 0.8] });
  const file = measured({ meanIou: 70 }, { accuracy: [1, 1], meanIou: [0.7, 0.7] });
  const { what, mean } = dropOf(float, file);
  expect([what, Number(mean.toFixed(9))]).toEqual(["mean IoU", 10]);
});

test("per cent of the RMSE", () => {
  const float = measured({ labels: "values", rmse: 2 }, { squaredError: [4, 4, 4, 4] });
  const file = measured({ labels: "values", rmse: Math.sqrt(5) }, { squaredError: [4, 4, 4, 8] });
  const { what, mean, error } = dropOf(float, file);
  expect(what).toBe("RMSE");
  expect(mean).toBeCloseTo(100 * (Math.sqrt(5) / 2 - 1));
  // Squares differ by 1 ± 1: the root by 1 / (2 + √5) of that.
  expect(error).toBeCloseTo(100 / (2 + Math.sqrt(5)) / 2);
});

test("noise of the output that lost most", () => {
  const output = (name: string, sqnrDb: number, noiseBySample: readonly number[]) =>
    ({ name, sqnrDb, noiseBySample }) as unknown as Parameters<typeof noiseOf>[0][number];
  const { what, mean, error } = noiseOf([output("a", 30, [1, 1]), output("b", 20, [1, 3])]);
  expect([what, Number(mean.toFixed(9))]).toEqual(["noise", 1]);
  // Noise 2 ± 1 is one per cent.
  expect(error).toBeCloseTo(0.5);
});

test("chance decides nothing", () => {
  const drop = (mean: number, error: number) => ({ what: "accuracy", mean, error }) as const;
  expect([isWithin(drop(0.4, 0.1), 0.5), isWithin(drop(0.45, 0.1), 0.5)]).toEqual([true, false]);
  expect([isBeyond(drop(0.55, 0.1), 0.5), isBeyond(drop(0.65, 0.1), 0.5)]).toEqual([false, true]);
  expect(isBeyond(drop(Number.NaN, 0), 0.5)).toBe(true);
  expect([isBetter(drop(1, 0.1), drop(1.05, 0.1)), isBetter(drop(1, 0.1), drop(1.2, 0.1))]).toEqual([false, true]);
  expect(isBetter(drop(1, 0.1), drop(Number.NaN, 0))).toBe(true);
});
