import { expect, test } from "vitest";
import { quantizeTiny, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { countAway } from "./count-away.ts";
import { constantOf, gridOf, nearestIntegers, placeIntegers, quotientsOf, roundedLayers } from "./grid.ts";

const float = tinyClassifier("float64");
const nearest = quantizeTiny(float);

test("rounded to nearest, no weight has another integer", () => {
  const counts = countAway(nearest, float);
  expect([...counts]).toEqual([
    ["conv1", { count: 0, all: 6 * 3 * 9 }],
    ["conv2", { count: 0, all: 6 * 6 * 9 }],
    ["linear", { count: 0, all: 4 * 6 }],
  ]);
});

test("those that were moved are counted, of each layer its own", () => {
  const { quantizer } = roundedLayers(nearest, float)[1];
  const grid = gridOf(nearest, quantizer);
  const integers = nearestIntegers(quotientsOf(constantOf(nearest, quantizer.value), grid), grid);
  const moved = integers.map((q, i) => (i % 10 === 0 ? (q < grid.high ? q + 1 : q - 1) : q));
  const counts = countAway(placeIntegers(nearest, quantizer, moved), float);
  expect([...counts.values()].map(({ count }) => count)).toEqual([0, Math.ceil((6 * 6 * 9) / 10), 0]);
});
