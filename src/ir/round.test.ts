import fc from "fast-check";
import { expect, test } from "vitest";
import { roundHalfToEven } from "./round.ts";

test("no whole number is nearer, and of two that are as near it is the even one", () => {
  const numbers = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.double({ min: -100, max: 100, noNaN: true }),
    fc.integer().map((twice) => twice / 2),
    fc.integer({ min: -(2 ** 30), max: 2 ** 30 }).map((near) => 2 ** 51 + near / 2),
  );
  fc.assert(
    fc.property(numbers, (x) => {
      const rounded = roundHalfToEven(x);
      const distance = Math.abs(x - rounded);
      expect(Number.isInteger(rounded)).toBe(true);
      expect(distance).toBeLessThanOrEqual(0.5);
      if (distance === 0.5) expect(Math.abs(rounded % 2)).toBe(0);
    }),
    { numRuns: 2000 },
  );
});

test("what is no finite number stays what it is, and −0 too; nothing else becomes −0", () => {
  for (const x of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0])
    expect(Object.is(roundHalfToEven(x), x), String(x)).toBe(true);
  for (const x of [-0.5, -0.3, -1e-300]) expect(Object.is(roundHalfToEven(x), 0), String(x)).toBe(true);
});
