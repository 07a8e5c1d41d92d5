import { expect, test } from "vitest";
import { runGraph } from "../../test/support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { numbersOf, tensorOf } from "../ir/tensor.ts";
import { asymmetricQparams, signedQparams, symmetricQparams } from "./qparams.ts";

test.each([1e-36, 1e-40, 1e-44])("a row whose weights are %d computes zeros, as a row of zeros does", async (tiny) => {
  const graph = tinyClassifier("float32");
  const weights = Array.from(numbersOf(graph.constants.get("linear.weight") ?? tensorOf("float32", [0], [])));
  const withRow = (value: number) => {
    const values = weights.map((weight, i) => (i < 6 ? value * (i % 2) : weight));
    const constants = new Map(graph.constants).set("linear.weight", tensorOf("float32", [4, 6], values));
    return runGraph(
      createReferenceEngine(),
      quantizeTiny({ ...graph, constants }),
      new Map([["input", tinyBatch("float32", 4).images]]),
    );
  };
  expect((await withRow(tiny)).get("logits")?.data).toEqual((await withRow(0)).get("logits")?.data);
});

test("a scale without all its digits is none: weights get 1, activations are refused", () => {
  expect([
    ...numbersOf(
      symmetricQparams(
        [0, 1e-44, 1e-38, 127].map((max) => ({ min: 0, max })),
        8,
        "float32",
        [4],
      ).scale,
    ),
  ]).toEqual([1, 1, 1, 1]);
  for (const qparams of [asymmetricQparams, signedQparams])
    expect(() => qparams({ min: 0, max: 1e-40 }, 8, "float32", "x")).toThrow('Value "x" was 0 in all');
});

test("ranges on one side of 0 are widened to it", () => {
  const { scale, zeroPoint } = asymmetricQparams({ min: 51, max: 255 }, 8, "float32", "x");
  expect([scale.data[0], zeroPoint.data[0]]).toEqual([1, 0]);
  const below = asymmetricQparams({ min: -255, max: -51 }, 8, "float32", "x");
  expect([below.scale.data[0], below.zeroPoint.data[0]]).toEqual([1, 255]);
});
