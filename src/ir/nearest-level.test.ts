import fc from "fast-check";
import { expect, test } from "vitest";
import { nearestLevel } from "./nearest-level.ts";

test("no level is nearer, and none before it is as near", () => {
  const eighths = fc.integer({ min: -32, max: 32 }).map((value) => value / 8);
  fc.assert(
    fc.property(fc.uniqueArray(eighths, { minLength: 1, maxLength: 16 }), eighths, (given, value) => {
      const levels = given.toSorted((a, b) => a - b);
      const distances = levels.map((level) => Math.abs(value - level));
      expect(nearestLevel(levels, value)).toBe(distances.indexOf(Math.min(...distances)));
    }),
  );
});
