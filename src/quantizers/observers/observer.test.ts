import { describe, expect, test } from "vitest";
import { describeWithData, readBytes, readTensors } from "../../../test/support/frostbit-data.ts";
import { createRandom } from "../../../test/support/random.ts";
import { roundHalfToEven } from "../../ir/round.ts";
import { numbersOf } from "../../ir/tensor.ts";
import { entropyRange } from "./entropy.ts";
import {
  addToHistogram,
  createHistogram,
  gridOf,
  integerAt,
  leastErrorLargest,
  leastErrorRange,
  lpRange,
  movingAverage,
  mseRange,
} from "./observer.ts";

const random = createRandom(4);
const histogramOf = (values: readonly number[]) => {
  const histogram = createHistogram({ min: Math.min(...values), max: Math.max(...values) });
  addToHistogram(histogram, values);
  return histogram;
};
const normal = Array.from({ length: 20_000 }, () => random.normal());

describe("observers", () => {
  test("a moving average goes a tenth of the way at each batch", () => {
    const first = { min: -1, max: 2 };
    expect(movingAverage(first, { min: -2, max: 2 })).toEqual({ min: -1.1, max: 2 });
    const steady = Array.from({ length: 100 }, () => ({ min: -3, max: 7 })).reduce(movingAverage, first);
    expect(steady.min).toBeCloseTo(-3, 3);
    expect(steady.max).toBeCloseTo(7, 3);
  });

  test("entropy leaves out a few far values, and keeps what is evenly spread", () => {
    const { max } = entropyRange(histogramOf([...normal.map(Math.abs), 40]), 4);
    expect(max).toBeGreaterThan(2);
    expect(max).toBeLessThan(12);
    const even = Array.from({ length: 20_000 }, (_, i) => i / 20_000);
    expect(entropyRange(histogramOf(even), 4).max).toBeGreaterThan(0.97);
  });

  test("entropy counts no zeros, which are exact in every range", () => {
    const positive = normal.map(Math.abs);
    const zeros = new Array<number>(5 * positive.length).fill(0);
    const { max } = entropyRange(histogramOf([...positive, ...zeros]), 4);
    expect(max).toBeGreaterThan(2);
    expect(max / entropyRange(histogramOf(positive), 4).max).toBeCloseTo(1, 1);
  });

  test("entropy of a range whose levels are its bins is that range", () => {
    const levels = Array.from({ length: 16 }, (_, level) => Array.from({ length: 17 - level }, () => level)).flat();
    expect(entropyRange(histogramOf(levels), 4)).toEqual({ min: 0, max: 15 });
  });

  test.each([false, true])("mse chooses the range of least squared error, symmetric: %s", (symmetric) => {
    const values = [...normal.slice(0, 4000).map(Math.abs), 9];
    const errorOf = (range: { min: number; max: number }): number => {
      const [low, high] = symmetric ? [-8, 7] : [0, 15];
      const scale = symmetric ? Math.max(-range.min, range.max) / 7 : (range.max - range.min) / 15;
      const zeroPoint = symmetric ? 0 : roundHalfToEven(-range.min / scale);
      return values.reduce((sum, x) => {
        const q = Math.min(high, Math.max(low, roundHalfToEven(x / scale) + zeroPoint));
        return sum + (x - (q - zeroPoint) * scale) ** 2;
      }, 0);
    };
    const chosen = mseRange(histogramOf(values), 4, symmetric);
    expect(errorOf(chosen)).toBeLessThan(errorOf({ min: 0, max: 9 }));
    for (const share of [0.8, 0.9, 1.1, 1.2])
      expect(errorOf(chosen)).toBeLessThan(1.02 * errorOf({ min: 0, max: chosen.max * share }));
  });

  test.each([
    ["of both signs", normal.slice(0, 3000)],
    ["more above than below", normal.slice(0, 3000).map((x) => (x > 0 ? 3 * x : x))],
    ["of one sign", normal.slice(0, 3000).map(Math.abs)],
  ])("lp chooses the range of least |error|^2.4, of values %s", (_, values) => {
    const errorOf = ({ min, max }: { min: number; max: number }): number => {
      const scale = (max - min) / 7;
      const zeroPoint = roundHalfToEven(-min / scale);
      return values.reduce((sum, x) => {
        const q = Math.min(7, Math.max(0, roundHalfToEven(x / scale) + zeroPoint));
        return sum + Math.abs(x - (q - zeroPoint) * scale) ** 2.4;
      }, 0);
    };
    const chosen = lpRange(histogramOf(values), 3);
    for (const low of [0.4, 0.6, 0.8, 0.9, 1, 1.1])
      for (const high of [0.4, 0.6, 0.8, 0.9, 1, 1.1])
        expect(errorOf(chosen)).toBeLessThan(
          1.03 * errorOf({ min: Math.min(0, Math.min(...values) * low), max: Math.max(...values) * high }),
        );
  });

  test("a symmetric grid has zero point 0 and the whole signed range", () => {
    const grid = gridOf({ min: -1, max: 3.5 }, 4, true);
    expect(grid).toEqual({ low: -8, high: 7, scale: 0.5, zeroPoint: 0 });
    expect([-9, -1, 0.3, 9].map((x) => integerAt(grid, x))).toEqual([-8, -2, 1, 7]);
  });
});

describeWithData("weights' ranges by |error|^2.4", (folder) => {
  const place = [folder, "reference_rounding"];

  test.each([2, 3, 4])("are those of another program, %i bits", (bits) => {
    const samples = readTensors(...place, "reconstruction.f64.safetensors").get("range.samples");
    if (!samples) throw new Error("the oracle has no range.samples");
    const values = Array.from(numbersOf(samples));
    const { range_search: found } = JSON.parse(
      new TextDecoder().decode(readBytes(...place, "reconstruction.f64.json")),
    );
    const { min, max } = leastErrorRange(values, bits, "lp");
    const scale = (max - min) / (2 ** bits - 1);
    expect(scale).toBeCloseTo(found.brecq_shrink_80[bits].scale, 12);
    expect(roundHalfToEven(-min / scale)).toBe(found.brecq_shrink_80[bits].zero_point);
    const largest = leastErrorLargest(values, bits, "lp");
    expect(largest / (2 ** (bits - 1) - 1)).toBeCloseTo(found.symmetric_restricted_100[bits].scale, 12);
  });
});
