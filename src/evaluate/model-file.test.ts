import { expect, test } from "vitest";
import { memoryDataset } from "../data/memory-dataset.ts";
import { resolvePreprocess } from "../data/preprocess.ts";
import { tensorOf } from "../ir/tensor.ts";
import { datasetFor, firstRows, padRows } from "./model-file.ts";

test("data of another type are told which to be saved as", () => {
  const file = { inputs: new Map([["x", { dtype: "float32", shape: ["N", 2] } as const]]) };
  const dataset = memoryDataset("whole", new Map([["x", tensorOf("int64", [3, 2], [1, 2, 3, 4, 5, 6])]]));
  expect(() => datasetFor(file, dataset, resolvePreprocess("none"))).toThrow(
    'Input "x" of the model is float32 [N, 2]; "whole" gives int64 [batch, 2]. Save the samples as float32, if they are what the model takes.',
  );
});

test("a batch that is not full is filled with its last sample, which is taken off again", () => {
  const rows = tensorOf("int64", [2, 2], [1, 2, 3, 4]);
  const full = padRows(rows, 4);
  expect(full).toEqual(tensorOf("int64", [4, 2], [1, 2, 3, 4, 3, 4, 3, 4]));
  expect(firstRows(full, 2)).toEqual(rows);
  expect(padRows(rows, 2)).toBe(rows);
});
