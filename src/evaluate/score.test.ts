import { expect, test } from "vitest";
import { tensorOf } from "../ir/tensor.ts";
import { accuracyOf, addScores, emptyScore } from "./score.ts";

const scored = (values: readonly number[], labels: readonly number[], areProbabilities: boolean) => {
  const score = emptyScore();
  const scores = tensorOf("float32", [labels.length, values.length / labels.length], values);
  addScores(score, scores, tensorOf("int64", [labels.length], labels), areProbabilities);
  return accuracyOf(score);
};

test("scores give the cross-entropy of their softmax, probabilities of themselves", () => {
  const { loss, top1 } = scored([1, 2, 3, 1], [0, 0], false);
  expect(top1).toBe(50);
  expect(loss).toBeCloseTo((Math.log(Math.E + Math.E ** 2) - 1 + Math.log(Math.E ** 3 + Math.E) - 3) / 2, 12);
  expect(scored([0.25, 0.75], [0], true).loss).toBeCloseTo(Math.log(4), 12);
});

test("a probability that rounds to 0 costs much, but not everything", () => {
  const { loss } = scored([0, 1, 1, 0], [0, 0], true);
  expect(loss).toBeCloseTo((149 * Math.log(2)) / 2, 9);
});

test("NaN is not a class", () => {
  const nothing = Number.NaN;
  expect(scored([nothing, nothing, nothing, 0], [0, 0], false).top1).toBe(0);
});
