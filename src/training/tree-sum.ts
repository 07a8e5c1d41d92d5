// Sums over the parts of a batch in one fixed order, whoever computes which part.
import type { Floats } from "../distributed/communicator.ts";
import { assert } from "../ir/errors.ts";

/** What parts give, and its sums: what is not needed any more is given back, to be written again. */
export interface Parts<T extends { readonly all: Floats }> {
  readonly run: (index: number) => Promise<T>;
  readonly release: (used: T) => void;
}

/**
 * The sums of what parts `first` to `first + count − 1` give, element by element: a binary tree whose halves are sums of the same kind,
 * so that 2, 4, … processes with equal shares of the parts have subtrees of it. What the parts give is written into.
 */
export async function treeSum<T extends { readonly all: Floats }>(
  first: number,
  count: number,
  parts: Parts<T>,
): Promise<T> {
  if (count === 1) return parts.run(first);
  const half = Math.ceil(count / 2);
  const left = await treeSum(first, half, parts);
  const right = await treeSum(first + half, count - half, parts);
  add(left.all, right.all);
  parts.release(right);
  return left;
}

function add(sum: Floats, other: Floats): void {
  assert(sum.length === other.length, `sums of ${sum.length} and ${other.length} elements`);
  for (let i = 0; i < sum.length; i++) sum[i] += other[i];
}
