import { expect, test } from "vitest";
import { sampleToken } from "./sample-token.ts";

const probabilities = [0.5, 0.3, 0.15, 0.05];
const logits = probabilities.map(Math.log);

function counts(temperature: number, topP: number): readonly number[] {
  const result = [0, 0, 0, 0];
  for (let step = 0; step < 20_000; step++) result[sampleToken(logits, { temperature, topP, seed: 7 }, step)]++;
  return result.map((count) => count / 20_000);
}

test("tokens are drawn as often as their probabilities say", () => {
  const expectShares = (shares: readonly number[], expected: readonly number[]): void => {
    for (const [id, share] of shares.entries()) expect(Math.abs(share - expected[id])).toBeLessThan(0.015);
  };
  expectShares(counts(1, 1), probabilities);
  const sharper = probabilities.map((p) => p ** 2 / probabilities.reduce((sum, q) => sum + q ** 2, 0));
  expectShares(counts(0.5, 1), sharper);
});

test("only those are drawn that have topP together, in their own proportions", () => {
  const [first, second, ...rest] = counts(1, 0.75);
  expect(rest).toEqual([0, 0]);
  expect(Math.abs(first - 0.5 / 0.8)).toBeLessThan(0.015);
  expect(second).toBeGreaterThan(0);
  expect(counts(1, 0.01)).toEqual([1, 0, 0, 0]);
});

test("at temperature 0 it is the likeliest", () => {
  expect(sampleToken([1, 3, 3, 2], { temperature: 0, topP: 1, seed: 0 }, 0)).toBe(1);
});
