// Counts of batches that several processes share are those of one process, to the last bit.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { inMemoryCommunicators } from "../../test/support/in-memory-ranks.ts";
import { partOf } from "../data/batches.ts";
import { startCounting, type Tally } from "./tally.ts";

async function counted(batches: readonly Tally[], size: number): Promise<readonly (Tally | undefined)[]> {
  const ranks = await inMemoryCommunicators(size);
  return Promise.all(
    ranks.map((communicator) => {
      const counting = startCounting(size === 1 ? undefined : communicator);
      for (const batch of batches.slice(...partOf(batches.length, communicator))) counting.add(batch);
      return counting.end();
    }),
  );
}

const numbers = fc.array(fc.double(), { maxLength: 6 });
const tallies = fc.tuple(fc.nat(3), fc.nat(3)).chain(([width, lists]) =>
  fc.array(
    fc.record({
      sums: fc.array(fc.array(fc.double(), { minLength: width, maxLength: width }), { minLength: 2, maxLength: 2 }),
      counts: fc.array(fc.array(fc.nat(), { minLength: width, maxLength: width }), { minLength: 1, maxLength: 1 }),
      lists: fc.array(numbers, { minLength: lists, maxLength: lists }),
    }),
    { maxLength: 9 },
  ),
);

describe("counts of batches", () => {
  test.each([2, 4, 8])(
    "%i processes have those of one, bit for bit, also without a batch of their own",
    async (size) => {
      await fc.assert(
        fc.asyncProperty(tallies, async (batches) => {
          const [one] = await counted(batches, 1);
          for (const shared of await counted(batches, size)) expect(shared).toEqual(one);
        }),
        { numRuns: 30 },
      );
    },
  );

  test("sums are added in the batches' order, lists follow each other", async () => {
    const batches = [2 ** 53, 1, 1].map((value, i) => ({ sums: [[value]], counts: [[i]], lists: [[i]] }));
    // In another order the ones would count.
    for (const all of await counted(batches, 2)) {
      expect(all?.sums).toEqual([Float64Array.of(2 ** 53)]);
      expect(all?.counts).toEqual([Float64Array.of(3)]);
      expect(all?.lists).toEqual([[0, 1, 2]]);
    }
    expect(await counted([], 2)).toEqual([undefined, undefined]);
  });

  test("parts follow each other, differ by one at most, and the first has one where there is one", () => {
    for (const size of [1, 2, 4, 8])
      for (let count = 0; count < 20; count++) {
        const parts = Array.from({ length: size }, (_, rank) => partOf(count, { rank, size }));
        expect(parts.flatMap(([first, end]) => Array.from({ length: end - first }, (_, i) => first + i))).toEqual(
          Array.from({ length: count }, (_, i) => i),
        );
        const lengths = parts.map(([first, end]) => end - first);
        expect(Math.max(...lengths) - Math.min(...lengths)).toBeLessThanOrEqual(1);
        expect(lengths[0]).toBe(Math.max(...lengths));
      }
  });
});
