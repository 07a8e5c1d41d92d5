// Sums over parts of something, in an order of their own: the same bytes whichever processes computed which parts.
import { partOf, type Share } from "../data/batches.ts";
import type { Communicator, Floats } from "./communicator.ts";

/** A power of two: so many processes can share the parts evenly, and more of them leave some without one. */
export const sumParts = 8;

export interface PartSums {
  /** Of one of `sumParts` parts; `undefined` where nothing is in it. */
  readonly ofPart: (part: Share) => Promise<readonly Floats[] | undefined>;
  /** The sums of nothing. */
  readonly zero: () => readonly Floats[];
}

/** Added in a binary tree, neighbours first. Several processes share the parts, and have the sums of all. */
export async function sumOfParts(
  { ofPart, zero }: PartSums,
  communicator: Communicator | undefined,
): Promise<readonly Floats[]> {
  const sums = (await treeOf(partOf(sumParts, communicator), ofPart)) ?? zero();
  for (const values of sums) await communicator?.sum(values);
  return sums;
}

async function treeOf(
  [first, end]: readonly [number, number],
  ofPart: PartSums["ofPart"],
): Promise<readonly Floats[] | undefined> {
  if (first === end) return undefined;
  if (end - first === 1) return ofPart({ rank: first, size: sumParts });
  const middle = (first + end) / 2;
  const low = await treeOf([first, middle], ofPart);
  const high = await treeOf([middle, end], ofPart);
  return low && high ? added(low, high) : (low ?? high);
}

/** Written into the first. */
function added(low: readonly Floats[], high: readonly Floats[]): readonly Floats[] {
  for (const [i, sums] of low.entries()) {
    const others = high[i];
    for (let at = 0; at < sums.length; at++) sums[at] += others[at];
  }
  return low;
}
