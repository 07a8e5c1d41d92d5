import fc from "fast-check";
import { expect, test } from "vitest";
import { paretoFront } from "./pareto.ts";

test("points that nothing beats are on the front, equal ones together, and what is not known on none", () => {
  const points = [
    [1, 5],
    [2, 3],
    [2, 4],
    [3, 3],
    [2, 3],
    [Number.NaN, 0],
  ];
  expect(paretoFront(points)).toEqual([true, true, false, false, true, false]);
});

test("in two dimensions it is what is left of a scan from the smallest", () => {
  const point = fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 9 }));
  fc.assert(
    fc.property(fc.array(point, { maxLength: 20 }), (points) => {
      const least = (x: number): number => Math.min(...points.filter(([other]) => other <= x).map(([, y]) => y));
      const before = (x: number): number => Math.min(...points.filter(([other]) => other < x).map(([, y]) => y));
      expect(paretoFront(points)).toEqual(points.map(([x, y]) => y === least(x) && y < before(x)));
    }),
  );
});
