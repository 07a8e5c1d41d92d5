// Sums over processes, what they send for them, and who is named where one does not answer.
import { describe, expect, test } from "vitest";
import { inMemoryRanks } from "../../test/support/in-memory-ranks.ts";
import { type Communicator, createCommunicator } from "./communicator.ts";

const opened = (size: number, timeoutMs = 10_000, isSilent?: (rank: number) => boolean): Promise<Communicator[]> =>
  Promise.all(
    inMemoryRanks(size, isSilent).map((transport, rank) =>
      createCommunicator(transport, { timeoutMs, name: `machine-${rank}` }),
    ),
  );

/** At 2²⁴, float32 has no halves and no odd numbers: every order of a sum shows. */
const partOf = (rank: number, i: number): number => [2 ** 24, 1, 3, -(2 ** 24), 1, 2 ** 25, 1, 5][(rank + i) % 8];
const add = (a: number, b: number): number => Math.fround(a + b);
const treeOf = (values: readonly number[]): number =>
  values.length === 1
    ? values[0]
    : add(treeOf(values.slice(0, values.length / 2)), treeOf(values.slice(values.length / 2)));

describe("a sum over processes", () => {
  test.each([1, 2, 4, 8])("of %i is a binary tree in their order, the same everywhere", async (size) => {
    for (const length of [0, 1, 5, 64]) {
      const ranks = await opened(size);
      const values = ranks.map(({ rank }) => Float32Array.from({ length }, (_, i) => partOf(rank, i)));
      await Promise.all(ranks.map((communicator, rank) => communicator.sum(values[rank])));
      const expected = Float32Array.from({ length }, (_, i) => treeOf(ranks.map(({ rank }) => partOf(rank, i))));
      for (const value of values) expect(value).toEqual(expected);
    }
  });

  test.each([2, 4, 8])("%i processes send 2 (R − 1) / R of its bytes each", async (size) => {
    const ranks = await opened(size);
    await Promise.all(ranks.map((communicator) => communicator.sum(new Float64Array(800))));
    for (const { traffic } of ranks)
      expect(traffic()).toEqual({
        sums: 1,
        summedBytes: 6400,
        sentBytes: (2 * (size - 1) * 6400) / size,
        messages: 2 * Math.log2(size),
      });
  });
});

test("bytes go from process 0 to all, and from all to process 0", async () => {
  const ranks = await opened(4);
  const given = ranks.map(({ rank }) => Uint8Array.from({ length: rank + 1 }, () => rank));
  const sent = await Promise.all(ranks.map((communicator, rank) => communicator.broadcast(given[rank])));
  expect(sent.map((bytes) => [...bytes])).toEqual([[0], [0], [0], [0]]);
  const gathered = await Promise.all(ranks.map((communicator, rank) => communicator.gather(given[rank])));
  expect(gathered).toEqual([given, [], [], []]);
});

test("a process that does not answer is named by those that wait for it, and no other", async () => {
  let silent = -1;
  const ranks = await opened(4, 50, (rank) => rank === silent);
  silent = 2;
  const values = ranks.map(() => new Float32Array(8));
  const ends = await Promise.allSettled(
    [0, 1, 3].map((rank) => (ranks[rank] as Communicator).sum(values[rank] as Float32Array)),
  );
  for (const end of ends) {
    const message = String((end as PromiseRejectedResult).reason);
    expect(message).toMatch(/process 2 \(machine-2\) did not answer within 0\.05 s/);
    expect(message).not.toMatch(/process [013]/);
  }
});

test("three processes are refused", async () => {
  await expect(opened(3)).rejects.toThrow("was started as 3 processes; expected 1, 2, 4, 8");
});
