import { expect, test } from "vitest";
import { sampleClasses, sampleReport } from "../../test/support/sample-report.ts";
import type { Report } from "../report/report.ts";
import { ablationFromRecipe, type Cell } from "./plan.ts";
import { type CellResult, spreadOf, summarize } from "./summarize.ts";

const plan = ablationFromRecipe(
  { methods: ["qdrop"], ablate: { axes: { "qdrop.drop": [0, 0.25], seed: [1, 2, 3] } } },
  "r",
);
const facts = { title: "t", createdAt: "now", model: "m", data: "d", engine: "e", versions: {}, isText: false };
const folderOf = ({ setting, seed }: Cell): string => `${setting.name} ${seed}`;
const of = (results: Readonly<Record<string, CellResult>>) => {
  const known = plan.cells.flatMap((cell) => {
    const result = results[folderOf(cell)];
    return result ? [[cell, result] as const] : [];
  });
  return summarize(plan, new Map(known), folderOf, facts);
};
const withTop1 = (deployed: number): CellResult => {
  const report = sampleReport();
  return { report: { ...report, top1: { ...report.top1, deployed }, metrics: { deployed: sampleClasses } } };
};
test("mean and deviation are those of the sample", () => {
  expect(spreadOf([2, 4, 9])).toEqual({ mean: 5, deviation: Math.sqrt((9 + 1 + 16) / 2), seeds: 3 });
  expect(spreadOf([7])).toEqual({ mean: 7, deviation: null, seeds: 1 });
  expect(spreadOf([])).toBeNull();
});

test("differences to the base are of the seeds that both have", () => {
  const { settings, measure } = of({
    "base 1": withTop1(90),
    "base 2": withTop1(91),
    "qdrop.drop=0 1": withTop1(91),
    "qdrop.drop=0 2": withTop1(94),
    "qdrop.drop=0 3": withTop1(50),
    "qdrop.drop=0.25 3": withTop1(80),
  });
  expect(measure).toMatchObject({ name: "top-1", unit: "%", better: "more", float: 91.73, samples: 10_000 });
  expect(settings.map(({ result }) => result?.mean)).toEqual([90.5, (91 + 94 + 50) / 3, 80]);
  expect(settings.map(({ difference }) => difference)).toEqual([
    null,
    { mean: 2, deviation: Math.sqrt(2), seeds: 2 },
    null,
  ]);
});

test("cells that failed, and those that were not run, are told from others", () => {
  const error = { code: "DIVERGED", message: "NaN" };
  const { settings } = of({ "base 1": withTop1(90), "base 2": { error } });
  expect(settings[0].cells.map(({ status }) => status)).toEqual(["done", "failed", "not run"]);
  expect(settings[0].cells[1].error).toEqual(error);
  expect(settings[0].result).toEqual({ mean: 90, deviation: null, seeds: 1 });
  expect(of({}).measure).toBeNull();
});

test("what labels do not measure is compared by errors, overlap or the worst output's distance", () => {
  const report = sampleReport();
  const measured = (change: Partial<Report>) => {
    const { measure, settings } = of({ "base 1": { report: { ...report, ...change } } });
    return [measure?.name, measure?.better, measure?.float, settings[0].cells[0].value];
  };
  const values = { ...sampleClasses, labels: "values" as const, top1: null };
  expect(measured({ metrics: { float: { ...values, rmse: 0.1 }, deployed: { ...values, rmse: 0.2 } } })).toEqual([
    "RMSE",
    "less",
    0.1,
    0.2,
  ]);
  expect(measured({ metrics: { deployed: { ...sampleClasses, meanIou: 33 } } })).toEqual([
    "mean IoU",
    "more",
    null,
    33,
  ]);
  const output = (sqnrDb: number | null) => ({ name: "y", sqnrDb, leastChannelDb: null, agreement: null });
  const fidelity = { deployed: [output(31), output(20), output(null)] };
  expect(measured({ metrics: {}, fidelity })).toEqual(["SQNR", "more", null, 20]);
  expect(measured({ metrics: {}, fidelity: { deployed: [output(null)] } })).toEqual(["SQNR", "more", null, null]);
});
