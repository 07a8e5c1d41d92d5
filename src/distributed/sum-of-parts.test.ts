// Sums of parts are one binary tree, whoever computes the parts.
import { expect, test } from "vitest";
import { inMemoryCommunicators } from "../../test/support/in-memory-ranks.ts";
import { sumOfParts, sumParts } from "./sum-of-parts.ts";
import { takeTurns } from "./take-turns.ts";

/** At 2²⁴, float32 has no halves and no odd numbers: every order of a sum shows. */
const values = [2 ** 24, 1, 3, -(2 ** 24), 1, 2 ** 25, 1, 5];
const { fround } = Math;

function treeOf([first, second, ...others]: readonly number[]): number {
  if (second === undefined) return first;
  const all = [first, second, ...others];
  const pairs = Array.from({ length: all.length / 2 }, (_, i) => fround(all[2 * i] + all[2 * i + 1]));
  return treeOf(pairs);
}

test.each([1, 2, 4, 8, 16])("%i processes have the tree of all parts, each part computed once", async (size) => {
  const computed: number[] = [];
  const sums = {
    ofPart: async ({ rank, size: parts }: { readonly rank: number; readonly size: number }) => {
      expect(parts).toBe(sumParts);
      computed.push(rank);
      return [Float32Array.of(values[rank], values[(rank + 3) % 8])];
    },
    zero: () => [new Float32Array(2)],
  };
  const ranks = await inMemoryCommunicators(size);
  const all = await Promise.all(ranks.map((communicator) => sumOfParts(sums, communicator)));
  const turned = values.map((_, i) => values[(i + 3) % 8]);
  for (const [sum] of all) expect([...sum]).toEqual([treeOf(values), treeOf(turned)]);
  expect(computed.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

test("parts with nothing in them add nothing, also where all are such", async () => {
  const only =
    (kept: number) =>
    async ({ rank }: { readonly rank: number }) =>
      rank === kept ? [Float64Array.of(7)] : undefined;
  const zero = (): Float64Array[] => [new Float64Array(1)];
  for (const size of [1, 4])
    for (const [kept, expected] of [
      [3, 7],
      [-1, 0],
    ]) {
      const ranks = await inMemoryCommunicators(size);
      const all = await Promise.all(ranks.map((each) => sumOfParts({ ofPart: only(kept), zero }, each)));
      for (const [sum] of all) expect([...sum]).toEqual([expected]);
    }
});

test.each([1, 2, 4, 8])("%i processes take turns, and have what all of them computed", async (size) => {
  const computed: number[] = [];
  const compute = async (index: number): Promise<number[]> => {
    computed.push(index);
    return [index / 3, -index];
  };
  const ranks = await inMemoryCommunicators(size);
  const all = await Promise.all(ranks.map((each) => takeTurns({ count: 5, length: 2, compute }, each)));
  for (const found of all)
    expect(found.map((numbers) => [...numbers])).toEqual([0, 1, 2, 3, 4].map((index) => [index / 3, -index]));
  expect(computed.toSorted()).toEqual([0, 1, 2, 3, 4]);
});
