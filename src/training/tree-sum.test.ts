// The order of a batch's sums: a fixed tree, whoever holds which part.
import { expect, test } from "vitest";
import { treeSum } from "./tree-sum.ts";

/** At 2²⁴ and above, float32 drops what is less than 2, or rounds it. */
const parts = [2 ** 24, 1, 1, -(2 ** 24), 3, 2 ** 24, 1, 1];
const add = (a: number, b: number): number => Math.fround(a + b);

/** The sum, and what was given back on the way. */
async function sumOf(first: number, count: number): Promise<{ readonly sum: number; readonly released: number }> {
  let released = 0;
  const { all } = await treeSum(first, count, {
    run: async (index) => ({ all: Float32Array.of(parts[index]) }),
    release: () => {
      released++;
    },
  });
  return { sum: all[0], released };
}

test("halves are summed first", async () => {
  const [a, b, c, d, e, f, g, h] = parts;
  const expected = add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h)));
  expect(await sumOf(0, 8)).toEqual({ sum: expected, released: 7 });
  expect(expected).not.toBe(parts.reduce(add));
  expect(await sumOf(0, 3)).toEqual({ sum: add(add(a, b), c), released: 2 });
});

test("2, 4 and 8 processes with equal shares have the halves, quarters and eighths of the tree", async () => {
  for (const processes of [2, 4, 8]) {
    let sums = await Promise.all(
      Array.from({ length: processes }, async (_, rank) => (await sumOf((rank * 8) / processes, 8 / processes)).sum),
    );
    while (sums.length > 1) sums = sums.flatMap((sum, i) => (i % 2 === 0 ? [add(sum, sums[i + 1])] : []));
    expect(sums[0]).toBe((await sumOf(0, 8)).sum);
  }
});
