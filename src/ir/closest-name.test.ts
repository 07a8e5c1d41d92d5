import { expect, test } from "vitest";
import { closestName, editDistance } from "./closest-name.ts";

const names = ["weights", "activations", "placement", "lr", "qparamLr"];

test.each([
  ["wieghts", "weights"],
  ["weight", "weights"],
  ["activation", "activations"],
  ["LR", "lr"],
  ["place", "placement"],
  ["qparam_lr", "qparamLr"],
  ["learningRate", undefined],
  ["x", undefined],
])("%s is taken for %s", (name, meant) => expect(closestName(name, names)).toBe(meant));

test("the distance counts letters put in, left out, changed and swapped", () => {
  expect(editDistance("", "abc")).toBe(3);
  expect(editDistance("kitten", "sitting")).toBe(3);
  expect(editDistance("abcd", "acbd")).toBe(1);
});
