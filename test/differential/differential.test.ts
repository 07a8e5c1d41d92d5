// Models whose structure was changed, in ONNX Runtime and on every engine: both refuse them, or both compute the same.
import { expect, test } from "vitest";
import { compareMutated, quantizeMutated } from "./compare-mutated.ts";

const first = Number(process.env["FROSTBIT_FUZZ_SEED"] ?? "1");

test("2,000 mutated models compute what they compute in ONNX Runtime, or are refused", async () => {
  const parts = [first, first + 1000].map((seed) => compareMutated({ first: seed, count: 1000 }));
  const results = await Promise.all(parts);
  expect(results.flatMap(({ wrong }) => wrong)).toEqual([]);
  const count = (outcome: string): number => results.reduce((sum, { outcomes }) => sum + (outcomes[outcome] ?? 0), 0);
  const outcomes = JSON.stringify(results.map((each) => each.outcomes));
  expect(count("alike"), outcomes).toBeGreaterThan(200);
  expect(count("freed"), outcomes).toBeGreaterThan(100);
}, 900_000);

test("100 mutated networks are quantized to what was reported, at the batch given, or refused", async () => {
  const { outcomes, wrong } = await quantizeMutated({ first, count: 100 });
  expect(wrong).toEqual([]);
  const written = Object.entries(outcomes).filter(([outcome]) => outcome.startsWith("true"));
  expect(
    written.reduce((sum, [, count]) => sum + count, 0),
    JSON.stringify(outcomes),
  ).toBeGreaterThan(15);
}, 600_000);
