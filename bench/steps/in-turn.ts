// Measures candidates in turn, round after round, so that what disturbs the machine disturbs all of them.
import { median } from "../../src/evaluate/latency.ts";
import type { Measured } from "./request.ts";

export interface Candidate {
  readonly name: string;
  readonly run: () => Measured | undefined;
}

/** A candidate that fails once is left out. */
export function measureInTurn(
  candidates: readonly Candidate[],
  rounds: number,
): ReadonlyMap<string, readonly Measured[]> {
  const results = new Map<string, Measured[]>(candidates.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++)
    for (const { name, run } of candidates) {
      const known = results.get(name);
      const result = known && run();
      if (result) known.push(result);
      else results.delete(name);
    }
  if (results.size === 0) throw new Error("Nothing could be measured.");
  return results;
}

type Times = "stepMs" | "forwardMs" | "backwardMs" | "selectMs";

/** Median over all steps of all rounds; NaN where nothing was measured. */
export function medianOf(results: readonly Measured[] | undefined, times: Times = "stepMs"): number {
  const all = (results ?? []).flatMap((result) => result[times] ?? []);
  return all.length === 0 ? Number.NaN : median(all);
}

/** The most that any round's process took beyond what it had before loading the model, MB. */
export const memoryOf = (results: readonly Measured[] | undefined): number =>
  Math.max(...(results ?? []).map(({ peakMemoryMb, memoryBeforeModelMb }) => peakMemoryMb - memoryBeforeModelMb));
