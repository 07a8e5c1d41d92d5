// Things that do not depend on each other, of which each process computes some.
import type { Communicator } from "./communicator.ts";

export interface Things {
  readonly count: number;
  /** How many numbers each gives. */
  readonly length: number;
  readonly compute: (index: number) => Promise<ArrayLike<number>>;
}

/** What each gives, in their order: processes take turns, and have the numbers of all, those of one process. */
export async function takeTurns(
  { count, length, compute }: Things,
  communicator: Communicator | undefined,
): Promise<readonly Float64Array[]> {
  const { rank, size } = communicator ?? { rank: 0, size: 1 };
  const turns = Array.from({ length: size }, (_, first) => turnsOf(first, size, count));
  const own = new Float64Array(turns[rank].length * length);
  for (const [i, index] of turns[rank].entries()) own.set(await compute(index), i * length);
  const all = communicator ? await gathered(own, communicator) : own;
  const places = turns.flat();
  const results = new Array<Float64Array>(count);
  for (const [i, index] of places.entries()) results[index] = all.subarray(i * length, (i + 1) * length);
  return results;
}

const turnsOf = (first: number, size: number, count: number): readonly number[] =>
  Array.from({ length: count }, (_, index) => index).filter((index) => index % size === first);

const gathered = async (own: Float64Array, communicator: Communicator): Promise<Float64Array> =>
  new Float64Array((await communicator.gatherEverywhere(new Uint8Array(own.buffer))).slice().buffer);
