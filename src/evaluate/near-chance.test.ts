import { describe, expect, test } from "vitest";
import { nearChanceHint } from "./near-chance.ts";

const hintOf = (
  top1: number | null,
  classes: number | null,
  samples: number,
  labels: "classes" | "binary" = "classes",
) =>
  nearChanceHint({
    labels,
    samples,
    classes,
    top1,
    loss: null,
    meanIou: null,
    rmse: null,
    mae: null,
    differentLabels: null,
  });

describe("accuracy near chance", () => {
  test("below twice chance names the options to check", () => {
    expect(hintOf(9.87, 10, 10000)).toBe(
      "Top-1 of 9.87 % is near chance (10.00 % with 10 classes). Check that the data is prepared as in training: --preprocess, --mean, --std, --scale, --layout.",
    );
  });

  test("few classes are near chance up to a fifth of the way from chance to perfect", () => {
    expect(hintOf(50, 2, 200)).toContain("is near chance (50.00 % with 2 classes)");
    expect(hintOf(59.9, 2, 200)).toBeDefined();
    expect(hintOf(60, 2, 200)).toBeUndefined();
    expect(hintOf(46, 3, 200)).toBeDefined();
    expect(hintOf(47, 3, 200)).toBeUndefined();
  });

  test("a single score has a chance of one half", () => {
    expect(hintOf(51, 2, 200, "binary")).toMatch(/^Accuracy of 51\.00 % is near chance \(50\.00 % with 2 classes\)/);
  });

  test("from twice chance on, on few samples, and of measured values there is none", () => {
    expect(hintOf(20, 10, 10000)).toBeUndefined();
    expect(hintOf(5, 10, 99)).toBeUndefined();
    expect(hintOf(null, null, 1000)).toBeUndefined();
  });
});
