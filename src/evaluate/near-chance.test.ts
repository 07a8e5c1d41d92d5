import { describe, expect, test } from "vitest";
import { nearChanceHint } from "./near-chance.ts";

describe("accuracy near chance", () => {
  test("below twice chance names the options to check", () => {
    expect(nearChanceHint(9.87, 10, 10000)).toBe(
      "Top-1 of 9.87 % is near chance (10.00 % with 10 classes). Check that the data is prepared as in training: --preprocess, --mean, --std, --scale, --layout.",
    );
  });

  test("few classes are near chance up to a fifth of the way from chance to perfect", () => {
    expect(nearChanceHint(50, 2, 200)).toContain("is near chance (50.00 % with 2 classes)");
    expect(nearChanceHint(59.9, 2, 200)).toBeDefined();
    expect(nearChanceHint(60, 2, 200)).toBeUndefined();
    expect(nearChanceHint(46, 3, 200)).toBeDefined();
    expect(nearChanceHint(47, 3, 200)).toBeUndefined();
  });

  test("from twice chance on, on few samples, and with one class there is none", () => {
    expect(nearChanceHint(20, 10, 10000)).toBeUndefined();
    expect(nearChanceHint(5, 10, 99)).toBeUndefined();
    expect(nearChanceHint(100, 1, 1000)).toBeUndefined();
  });
});
