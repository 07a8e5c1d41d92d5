// The order of a batch's sums: a fixed tree, whoever holds which part.
import { expect, test } from "vitest";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { treeSum } from "./tree-sum.ts";

/** At 2²⁴ and above, float32 drops what is less than 2, or rounds it. */
const parts = [2 ** 24, 1, 1, -(2 ** 24), 3, 2 ** 24, 1, 1];
const given = parts.map((value): Tensor => tensorOf("float32", [1], [value]));
const sumOf = async (first: number, count: number): Promise<number> =>
  Number((await treeSum(first, count, async (i) => new Map([["g", given[i]]]))).get("g")?.data[0]);
const add = (a: number, b: number): number => Math.fround(a + b);

test("halves are summed first, and what the parts gave stays as it is", async () => {
  const [a, b, c, d, e, f, g, h] = parts;
  const expected = add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h)));
  const inTurn = parts.reduce(add);
  expect(await sumOf(0, 8)).toBe(expected);
  expect(expected).not.toBe(inTurn);
  expect(given.map(({ data }) => data[0])).toEqual(parts);
});

test("2, 4 and 8 processes with equal shares have the halves, quarters and eighths of the tree", async () => {
  for (const processes of [2, 4, 8]) {
    let sums = await Promise.all(
      Array.from({ length: processes }, (_, rank) => sumOf((rank * 8) / processes, 8 / processes)),
    );
    while (sums.length > 1) sums = sums.flatMap((sum, i) => (i % 2 === 0 ? [add(sum, sums[i + 1])] : []));
    expect(sums[0]).toBe(await sumOf(0, 8));
  }
});
