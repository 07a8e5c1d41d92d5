import { expect, test } from "vitest";
import { difference, joinDifferences, reportedDb, sqnrDb } from "./difference.ts";

test.each([
  ["equal values", [1, 2], [1, 2], null],
  ["half of each value", [2, 4], [1, 2], 10 * Math.log10(4)],
  ["something where the reference is 0 throughout", [0, 0], [0, 1], -1000],
  ["NaN", [1, 2], [1, Number.NaN], -1000],
  ["nothing at all", [], [], null],
  [
    "equal infinities beside half of each value",
    [-Infinity, 2, Infinity],
    [-Infinity, 1, Infinity],
    10 * Math.log10(4),
  ],
  ["infinities of other signs", [-Infinity, 2], [Infinity, 2], -1000],
])("%s in a report", (_, reference, other, expected) => {
  expect(reportedDb(sqnrDb(difference(reference, other)))).toBe(expected);
});

test("differences of parts are those of the whole", () => {
  const [a, b] = [difference([1, 2], [1, 3]), difference([3], [1])];
  expect(joinDifferences(a, b)).toEqual(difference([1, 2, 3], [1, 3, 1]));
});
