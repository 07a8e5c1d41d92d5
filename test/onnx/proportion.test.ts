// Reading and inspecting cost in proportion to the model: a model of twice the size takes twice the work.
import { describe, expect, test } from "vitest";
import { inspectModel } from "../../src/inspect/inspect-model.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { countWork } from "../support/count-work.ts";
import { largeModel, largeModels } from "../support/large-models.ts";

const most = 2.2;

const workOf = (bytes: Uint8Array): number => countWork(() => void inspectModel(readOnnx(bytes, { name: "m" }).graph));

describe("twice as many", () => {
  test.each(Object.keys(largeModels))("%s", (kind) => {
    const [once, twice] = [300, 600].map((count) => workOf(largeModel(kind, count)));
    expect(twice / once).toBeLessThan(most);
  });
});

test("the measure finds what grows faster", () => {
  const quadratic = (count: number): void => {
    const list = Array.from({ length: count }, (_, i) => i);
    for (const i of list) list.includes(i);
  };
  expect(countWork(() => quadratic(600)) / countWork(() => quadratic(300))).toBeGreaterThan(3);
});
