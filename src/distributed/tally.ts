// What batches count, so that several processes share them: each counts its part of the batches, and all have the counts of all.
import type { Communicator } from "./communicator.ts";

/** What was counted of a batch, or of batches that follow each other. */
export interface Tally {
  /** Added to those of other batches, element by element. */
  readonly sums: readonly ArrayLike<number>[];
  /** Followed by those of the next batch. */
  readonly lists: readonly ArrayLike<number>[];
}

/** Joins what batches count, in their order. */
export interface Counting {
  /** Gives the counts of this process's batches so far, which stay its own. */
  readonly add: (ofBatch: Tally) => Tally;
  /** Of all batches of all processes, the same everywhere; `undefined` where there were none. */
  readonly end: () => Promise<Tally | undefined>;
}

/**
 * Sums are those of one process to the last bit, whoever counted which batch: counts of several processes, which follow each other in
 * the order of these, are sent batch by batch.
 */
export function startCounting(communicator: Communicator | undefined): Counting {
  const own: Tally[] = [];
  let soFar: JoinedTally | undefined;
  return {
    add: (ofBatch) => {
      if (communicator) own.push(ofBatch);
      soFar = joined(soFar, ofBatch);
      return soFar;
    },
    end: async () => {
      if (!communicator) return soFar;
      let all: JoinedTally | undefined;
      for (const ofBatch of unpack(await communicator.gatherEverywhere(pack(own)))) all = joined(all, ofBatch);
      return all;
    },
  };
}

interface JoinedTally extends Tally {
  readonly sums: readonly Float64Array[];
  readonly lists: readonly number[][];
}

/** Written into the first, where there is one. */
function joined(all: JoinedTally | undefined, { sums, lists }: Tally): JoinedTally {
  if (!all) return { sums: sums.map((each) => Float64Array.from(each)), lists: lists.map((each) => Array.from(each)) };
  for (const [i, sum] of all.sums.entries()) for (let at = 0; at < sum.length; at++) sum[at] += sums[i][at];
  for (const [i, list] of all.lists.entries()) for (let at = 0; at < lists[i].length; at++) list.push(lists[i][at]);
  return all;
}

/** Each as how many sums and lists it has, their lengths, and their numbers. */
function pack(tallies: readonly Tally[]): Uint8Array {
  const parts = tallies.flatMap(({ sums, lists }): ArrayLike<number>[] => {
    const all = [...sums, ...lists];
    return [[sums.length, lists.length], all.map(({ length }) => length), ...all];
  });
  const numbers = new Float64Array(parts.reduce((total, { length }) => total + length, 0));
  let at = 0;
  for (const part of parts) {
    numbers.set(part, at);
    at += part.length;
  }
  return new Uint8Array(numbers.buffer);
}

function unpack(bytes: Uint8Array): readonly Tally[] {
  const numbers = new Float64Array(bytes.slice().buffer);
  let at = 0;
  const take = (count: number): Float64Array => {
    at += count;
    return numbers.subarray(at - count, at);
  };
  const tallies: Tally[] = [];
  while (at < numbers.length) {
    const [sums, lists] = take(2);
    const all = Array.from(take(sums + lists)).map(take);
    tallies.push({ sums: all.slice(0, sums), lists: all.slice(sums) });
  }
  return tallies;
}
