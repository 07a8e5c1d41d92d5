import { describe, expect, it } from "vitest";
import { powerOfMagnitude } from "./power.ts";

describe("powerOfMagnitude", () => {
  it.each([1.5, 2.4, 3])("agrees with Math.pow to 14 digits, power %d", (power) => {
    const raised = powerOfMagnitude(power);
    for (let exponent = -60; exponent <= 60; exponent++)
      for (const mantissa of [1, 1 + 2 ** -52, 1.0004, 1.25, 1.7, 2 - 2 ** -52])
        for (const sign of [-1, 1]) {
          const x = sign * mantissa * 2 ** exponent;
          expect(Math.abs(raised(x) / Math.abs(x) ** power - 1)).toBeLessThan(2e-14);
        }
  });

  it("is 0 of 0", () => {
    expect(powerOfMagnitude(2.4)(0)).toBe(0);
  });
});
