import { expect, test } from "vitest";
import { sameLabelHint } from "./same-label.ts";

const accuracy = { samples: 20, top1: 10, loss: 2 };

test("labels that are all the same are named, where a model tells classes apart", () => {
  expect(sameLabelHint({ ...accuracy, differentLabels: 1 }, 10)).toMatch(/^All 20 test samples have the same label, /);
  expect(sameLabelHint({ ...accuracy, differentLabels: 2 }, 10)).toBeUndefined();
  expect(sameLabelHint({ ...accuracy, differentLabels: 1 }, 1)).toBeUndefined();
  expect(sameLabelHint({ ...accuracy, samples: 1, differentLabels: 1 }, 10)).toBeUndefined();
});
