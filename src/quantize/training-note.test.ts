import { describe, expect, test } from "vitest";
import type { BySample, Metrics } from "../evaluate/metrics.ts";
import { trainingNote, type Worth } from "./training-note.ts";

const nothing = { loss: null, meanIou: null, rmse: null, mae: null, top1: null, classes: null, differentLabels: null };

const worth = (metrics: Partial<Metrics>, bySample: BySample): Worth => ({
  metrics: { metrics: { ...nothing, labels: "classes", samples: 100, ...metrics }, bySample },
});

/** 1 for the first `count` of 100 samples. */
const right = (count: number): readonly number[] => Array.from({ length: 100 }, (_, i) => Number(i < count));
const scored = (count: number, loss = 1): Worth =>
  worth({ top1: count, loss }, { accuracy: right(count), loss: right(100).map(() => loss) });

describe("what training lost is noted", () => {
  test("of accuracy, by more than the standard error of the samples that differ", () => {
    expect(trainingNote(scored(90), scored(87))).toBe(
      "Training lost against rounding alone: accuracy went from 90.00 % to 87.00 %. Try a smaller --lr and --qparam-lr, or --warmup; --method ptq does not train.",
    );
    expect(trainingNote(scored(90), scored(90))).toBeUndefined();
    expect(trainingNote(scored(86), scored(91))).toBeUndefined();
  });

  test("not where as many samples were won as lost", () => {
    const mixed = worth(
      { top1: 89, loss: 1 },
      { accuracy: [...right(79)].reverse().map((_, i) => Number(i >= 11)), loss: [] },
    );
    const before = worth({ top1: 90, loss: 1 }, { accuracy: right(79).map((_, i) => Number(i < 90)), loss: [] });
    expect(trainingNote(before, mixed)).toBeUndefined();
  });

  test("of the loss, where the accuracy does not tell", () => {
    expect(trainingNote(scored(90, 0.5), scored(90, 0.75))).toContain("cross-entropy went from 0.500 to 0.750");
    expect(trainingNote(scored(80, 0.5), scored(90, 0.75))).toBeUndefined();
  });

  test("of mean IoU, and of the error against measured values", () => {
    const segmented = (meanIou: number): Worth =>
      worth({ top1: 90, loss: 1, meanIou }, { accuracy: right(90), loss: right(0), meanIou: right(meanIou) });
    expect(trainingNote(segmented(70), segmented(60))).toContain("mean IoU went from 70.00 % to 60.00 %");
    const regression = (rmse: number): Worth =>
      worth({ labels: "values", rmse }, { squaredError: right(100).map((_, i) => rmse ** 2 + i / 1e6) });
    expect(trainingNote(regression(0.2), regression(0.25))).toContain("RMSE went from 0.200 to 0.250");
    expect(trainingNote(regression(0.25), regression(0.2))).toBeUndefined();
  });

  test("of each output's SQNR, where no labels say what training is for", () => {
    const near = (sqnrDb: number): Worth => ({
      fidelity: [
        { name: "boxes", sqnrDb, noiseBySample: right(100).map((_, i) => 10 ** (-sqnrDb / 10) * (1 + i / 1e3)) },
      ],
    });
    expect(trainingNote(near(42.1), near(29.5))).toContain('SQNR of "boxes" went from 42.1 dB to 29.5 dB');
    expect(trainingNote(near(30), near(42))).toBeUndefined();
    expect(trainingNote({ ...scored(90), ...near(42) }, { ...scored(95), ...near(30) })).toBeUndefined();
  });

  test("not where a stage was not measured", () => {
    expect(trainingNote({}, scored(10))).toBeUndefined();
    expect(trainingNote(scored(90), {})).toBeUndefined();
  });
});
