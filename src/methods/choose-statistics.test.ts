import { describe, expect, test } from "vitest";
import { tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { buildOn } from "../ops/infer.ts";
import { chooseStatistics } from "./choose-statistics.ts";

const graph = tinyClassifier("float32");
const open = { freezeStatistics: "auto", lr: 1e-3, batch: 32 } as const;

describe("the statistics of batch normalization", () => {
  test("stay in a short run, and the choice is told", () => {
    const { freezeStatistics, note } = chooseStatistics(graph, open, 149);
    expect(freezeStatistics).toBe(0);
    expect(note).toBe(
      "Batch normalization keeps the model's statistics, as training takes 149 steps, fewer than 150 (--freeze-statistics 1: those of the batches).",
    );
  });

  test("are the batches' in a longer one, and where steps are large for the batch", () => {
    expect(chooseStatistics(graph, open, 150)).toMatchObject({
      freezeStatistics: 1,
      note: expect.stringContaining("takes 150 steps"),
    });
    const large = { ...open, lr: 2e-3 };
    expect(chooseStatistics(graph, large, 20)).toMatchObject({
      freezeStatistics: 1,
      note: expect.stringContaining("the learning rate of 0.002 is large for batches of 32"),
    });
    expect(chooseStatistics(graph, { ...large, batch: 64 }, 20).freezeStatistics).toBe(0);
  });

  test("are what the options say, or nothing where there are none", () => {
    expect(chooseStatistics(graph, { ...open, freezeStatistics: 0.5 }, 10)).toEqual({ freezeStatistics: 0.5 });
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
    expect(chooseStatistics(build.graph([build.node("Relu", [x])]), open, 10)).toEqual({ freezeStatistics: 1 });
  });
});
