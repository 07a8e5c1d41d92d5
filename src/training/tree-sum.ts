// Sums over the parts of a batch in one fixed order, whoever computes which part.
import type { Communicator, Floats } from "../distributed/communicator.ts";
import { assert } from "../ir/errors.ts";
import type { Tensor } from "../ir/tensor.ts";

export type Sums = ReadonlyMap<string, Tensor>;

/**
 * The sums of what parts `first` to `first + count − 1` give, by name: a binary tree whose halves are sums of the same kind, so that
 * 2, 4, … processes with equal shares of the parts have subtrees of it.
 */
export async function treeSum(first: number, count: number, part: (index: number) => Promise<Sums>): Promise<Sums> {
  if (count === 1) return part(first);
  const half = Math.ceil(count / 2);
  const left = await treeSum(first, half, part);
  const right = await treeSum(first + half, count - half, part);
  // What engines give may lie in memory of theirs; what was summed does not.
  const isOwn = half > 1;
  return new Map(
    [...left].map(([name, value]) => {
      const other = right.get(name);
      assert(other, `"${name}" is missing in a part`);
      const data = floatsOf(value);
      const sum = isOwn ? data : data.slice();
      add(sum, floatsOf(other));
      return [name, { ...value, data: sum }];
    }),
  );
}

/** The sums over all processes, each type in one message of its own. */
export async function sumOverRanks(own: Sums, communicator: Communicator): Promise<Sums> {
  const sums = new Map(own);
  for (const dtype of ["float32", "float64"] as const) {
    const named = [...own].filter(([, value]) => value.dtype === dtype);
    if (named.length === 0) continue;
    const arrays = named.map(([, value]) => floatsOf(value));
    const length = arrays.reduce((total, each) => total + each.length, 0);
    const all = dtype === "float32" ? new Float32Array(length) : new Float64Array(length);
    const starts = offsetsOf(arrays);
    arrays.forEach((each, i) => {
      all.set(each, starts[i]);
    });
    await communicator.sum(all);
    named.forEach(([name, value], i) => {
      sums.set(name, { ...value, data: all.subarray(starts[i], starts[i] + arrays[i].length) });
    });
  }
  return sums;
}

function offsetsOf(arrays: readonly Floats[]): readonly number[] {
  let next = 0;
  return arrays.map(({ length }) => {
    const start = next;
    next += length;
    return start;
  });
}

function floatsOf({ data }: Tensor): Floats {
  assert(data instanceof Float32Array || data instanceof Float64Array, "sums are of floats");
  return data;
}

function add(sum: Floats, other: Floats): void {
  assert(sum.length === other.length, `sums of ${sum.length} and ${other.length} elements`);
  for (let i = 0; i < sum.length; i++) sum[i] += other[i];
}

export const scaled = (value: Tensor, factor: number): Tensor => ({
  ...value,
  data: floatsOf(value).map((each) => each * factor),
});
