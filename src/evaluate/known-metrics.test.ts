import { describe, expect, test } from "vitest";
import { type Tensor, tensor } from "../ir/tensor.ts";
import { areaUnderCurve, topK } from "./known-metrics.ts";
import { noNumberHint, type OwnMetric, ownMeter } from "./own-metric.ts";

const row = (values: readonly number[]): Tensor => tensor("float32", [values.length], Float32Array.from(values));
const one = (label: number): Tensor => tensor("float32", [], Float32Array.of(label));

async function measured(
  { of }: OwnMetric,
  samples: readonly (readonly [readonly number[], number])[],
): Promise<number> {
  if (typeof of === "function") {
    const values = samples.map(([scores, label]) => of({ y: row(scores) }, one(label)));
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  }
  const counts = await of.start();
  for (const [scores, label] of samples) counts.add({ y: row(scores) }, one(label));
  return counts.value();
}

describe("top-k", () => {
  test("equal scores go to the first class, as argmax has them", async () => {
    expect(await measured(topK(1), [[[1, 1, 0], 0]])).toBe(100);
    expect(await measured(topK(1), [[[1, 1, 0], 1]])).toBe(0);
    expect(await measured(topK(2), [[[1, 1, 0], 1]])).toBe(100);
  });

  test("scores that are no numbers hit nothing", async () => {
    expect(await measured(topK(2), [[[Number.NaN, Number.NaN, Number.NaN], 1]])).toBe(0);
  });

  test.each([-1, 3, 0.5])("label %s of three classes is refused", async (label) => {
    await expect(measured(topK(2), [[[1, 2, 3], label]])).rejects.toThrow(
      `label ${label} is no class of the output's 3`,
    );
  });
});

describe("the area under the curve", () => {
  test("is the share of pairs that are in order, equals counting half", async () => {
    const samples = [
      [[0.1], 0],
      [[0.4], 0],
      [[0.4], 1],
      [[0.8], 1],
    ] as const;
    expect(await measured(areaUnderCurve, samples)).toBe((2 + 1 + 0.5) / 4);
  });

  test("is NaN of one class alone, and where a score is NaN", async () => {
    expect(await measured(areaUnderCurve, [[[0.1], 1]])).toBeNaN();
    const samples = [
      [[Number.NaN], 0],
      [[0.2], 1],
    ] as const;
    expect(await measured(areaUnderCurve, samples)).toBeNaN();
  });

  test("refuses other labels, and more than two scores", async () => {
    await expect(measured(areaUnderCurve, [[[0.1], 2]])).rejects.toThrow("AUC wants labels of 0 and 1; one is 2.");
    await expect(measured(areaUnderCurve, [[[1, 2, 3], 1]])).rejects.toThrow("the first output has 3.");
  });
});

test("an accumulator is asked for its value once, whatever progress is shown", async () => {
  let asked = 0;
  const value = (): number => {
    asked++;
    return Number.NaN;
  };
  const of = { start: () => ({ add: () => {}, value }) };
  const meter = await ownMeter({ name: "mine", higherIsBetter: true, of }, new Map());
  const none = { sums: [[0, 0]], lists: [[]] };
  expect(meter.note(none)).toBe("mine");
  const { metrics } = meter.measurement(none);
  expect(asked).toBe(1);
  expect(noNumberHint(metrics)).toMatch('The metric "mine" of 0 samples is NaN.');
});
