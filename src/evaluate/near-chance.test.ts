import { describe, expect, test } from "vitest";
import { nearChanceHint } from "./near-chance.ts";

describe("accuracy near chance", () => {
  test("below twice chance names the options to check", () => {
    expect(nearChanceHint(9.87, 10, 10000)).toBe(
      "Top-1 of 9.87 % is near chance (10.00 % with 10 classes). Check that the data is prepared as in training: --preprocess, --mean, --std, --scale, --layout.",
    );
  });

  test("from twice chance on, on few samples, and with two classes or fewer there is none", () => {
    expect(nearChanceHint(20, 10, 10000)).toBeUndefined();
    expect(nearChanceHint(5, 10, 99)).toBeUndefined();
    // Twice chance is all that two classes can reach.
    expect(nearChanceHint(95, 2, 1000)).toBeUndefined();
    expect(nearChanceHint(100, 1, 1000)).toBeUndefined();
  });
});
