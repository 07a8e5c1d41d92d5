import { expect, test } from "vitest";
import { sameLabelHint } from "./same-label.ts";

const metrics = {
  labels: "classes",
  samples: 20,
  classes: 10,
  top1: 10,
  loss: 2,
  meanIou: null,
  rmse: null,
  mae: null,
  differentLabels: 1,
} as const;

test("labels that are all the same are named, where a model tells classes apart", () => {
  expect(sameLabelHint(metrics)).toMatch(/^All 20 test samples have the same label, /);
  expect(sameLabelHint({ ...metrics, differentLabels: 2 })).toBeUndefined();
  expect(sameLabelHint({ ...metrics, samples: 1 })).toBeUndefined();
  expect(sameLabelHint({ ...metrics, labels: "values", classes: null, differentLabels: null })).toBeUndefined();
});
