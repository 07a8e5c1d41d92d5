// What batches count, so that several processes share them: each counts its part of the batches, and all have the counts of all.
import type { Communicator } from "./communicator.ts";

/** What was counted of a batch, or of batches that follow each other. */
export interface Tally {
  /** Added to those of other batches, element by element. */
  readonly sums: readonly ArrayLike<number>[];
  /** Added up too: whole numbers, which have one sum in every order. */
  readonly counts?: readonly ArrayLike<number>[];
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
 * Sums are those of one process to the last bit, whoever counted which batch: those of several processes, whose batches follow each other
 * in the order of these, are sent batch by batch. Whole numbers are sent once for all batches of a process.
 */
export function startCounting(communicator: Communicator | undefined): Counting {
  const own: Required<Tally>[] = [];
  let soFar: JoinedTally | undefined;
  return {
    add: (ofBatch) => {
      if (communicator) own.push({ ...ofBatch, counts: [] });
      soFar = joined(soFar, ofBatch);
      return soFar;
    },
    end: async () => {
      if (!communicator) return soFar;
      const sent = soFar ? [{ sums: [], counts: soFar.counts, lists: [] }, ...own] : [];
      let all: JoinedTally | undefined;
      for (const part of unpack(await communicator.gatherEverywhere(pack(sent)))) all = joined(all, part);
      return all;
    },
  };
}

interface JoinedTally extends Required<Tally> {
  readonly sums: Float64Array[];
  readonly counts: Float64Array[];
  readonly lists: number[][];
}

/** Written into the first, where there is one. */
function joined(all: JoinedTally | undefined, { sums, counts = [], lists }: Tally): JoinedTally {
  const result = all ?? { sums: [], counts: [], lists: [] };
  addTo(result.sums, sums);
  addTo(result.counts, counts);
  for (const [i, list] of lists.entries()) {
    result.lists[i] ??= [];
    const known = result.lists[i];
    for (let at = 0; at < list.length; at++) known.push(list[at]);
  }
  return result;
}

/** What is not known yet begins with the others. */
function addTo(sums: Float64Array[], others: readonly ArrayLike<number>[]): void {
  for (const [i, other] of others.entries()) {
    const sum = sums[i];
    if (sum) for (let at = 0; at < sum.length; at++) sum[at] += other[at];
    else sums.push(Float64Array.from(other));
  }
}

/** Each as how many sums, counts and lists it has, their lengths, and their numbers. */
function pack(tallies: readonly Required<Tally>[]): Uint8Array {
  const parts = tallies.flatMap(({ sums, counts, lists }): ArrayLike<number>[] => {
    const all = [...sums, ...counts, ...lists];
    return [[sums.length, counts.length, lists.length], all.map(({ length }) => length), ...all];
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
    const [sums, counts, lists] = take(3);
    const all = Array.from(take(sums + counts + lists)).map(take);
    const end = sums + counts;
    tallies.push({ sums: all.slice(0, sums), counts: all.slice(sums, end), lists: all.slice(end) });
  }
  return tallies;
}
