import { expect, test } from "vitest";
import { numbersOf, tensorOf } from "../ir/tensor.ts";
import { weightQparams } from "./observe-weights.ts";

/** Rows of five inputs, in groups of two. */
const weight = tensorOf("float32", [2, 5], [3, -7, 0, 0, 14, -1, 4, 10, 20, -5]);
const granularity = { axis: 1, groupSize: 2 };

test("a scale for each group, the last one ragged; zeros get 1", () => {
  const { scale, zeroPoint } = weightQparams(weight, { granularity, bits: 4, symmetric: true }, "min-max");
  expect(scale.shape).toEqual([2, 3]);
  expect([...numbersOf(scale)]).toEqual([1, 1, 2, 4, 20, 5].map((value, i) => Math.fround(i < 3 ? value : value / 7)));
  expect([...numbersOf(zeroPoint)]).toEqual([0]);
});

test("a zero point for each group; 0 is inside every range", () => {
  const { scale, zeroPoint } = weightQparams(weight, { granularity, bits: 2, symmetric: false }, "min-max");
  const spans = [10, 3, 14, 5, 20, 5];
  expect([...numbersOf(scale)]).toEqual(spans.map((span) => Math.fround(span / 3)));
  expect(zeroPoint.shape).toEqual([2, 3]);
  expect([...numbersOf(zeroPoint)]).toEqual([2, 0, 0, 1, 0, 3]);
});

test.each([true, false])("mse gives no larger error than the whole range, symmetric %s", (symmetric) => {
  const error = (observer: "mse" | "min-max"): number => {
    const { scale, zeroPoint } = weightQparams(weight, { granularity: { axis: 0 }, bits: 3, symmetric }, observer);
    const [low, high] = symmetric ? [-3, 3] : [0, 7];
    return Array.from(numbersOf(weight)).reduce((sum, value, i) => {
      const row = Math.floor(i / 5);
      const [s, z] = [numbersOf(scale)[row], symmetric ? 0 : numbersOf(zeroPoint)[row]];
      const q = Math.min(high, Math.max(low, Math.round(value / s) + z));
      return sum + (value - (q - z) * s) ** 2;
    }, 0);
  };
  expect(error("mse")).toBeLessThanOrEqual(error("min-max"));
});
