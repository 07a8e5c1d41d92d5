import { expect, test } from "vitest";
import { pairedDifference } from "./paired-difference.ts";

test("the difference of pairs has the standard error of their mean", () => {
  // 1, 3: mean 2, variance 2, standard error √(2/2).
  expect(pairedDifference([1, 1], [2, 4])).toEqual({ mean: 2, error: 1 });
  expect(pairedDifference([1, Number.NaN], [2, Number.NaN])).toEqual({ mean: 1, error: 0 });
  expect(pairedDifference([1, 1], [2, Number.NaN]).mean).toBe(Number.POSITIVE_INFINITY);
});
