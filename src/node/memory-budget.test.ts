import { expect, test } from "vitest";
import { FrostbitError } from "../ir/errors.ts";
import { checkEstimates, withinMemory } from "./memory-budget.ts";

const estimates = [
  { phase: "evaluation" as const, bytes: 1e6 },
  { phase: "training" as const, bytes: 5e12 },
];

function noted(maxMemory?: number): string[] {
  const notes: string[] = [];
  checkEstimates(estimates, maxMemory, (note) => notes.push(note));
  return notes;
}

test("more than the budget is refused with the phase that takes the most, and what to do", () => {
  expect(() => noted(100_000)).toThrow(
    /^This run is estimated to take 5,000,\d+ MB of memory, in its training, and --max-memory is 100000 MB\. .*--accumulate/,
  );
  expect(noted(6_000_000)).toEqual([expect.stringMatching(/^This run is estimated to take 5,000,\d+ MB.*training\.$/)]);
});

test("more than the machine has is noted", () => {
  expect(noted()).toEqual([expect.stringMatching(/and there are [\d,]+ MB\. /)]);
});

/** Until the signal; then ABORTED, as a run ends. */
const untilStopped = (signal: AbortSignal | undefined): Promise<never> =>
  new Promise((_, reject) => {
    signal?.addEventListener("abort", () => reject(new FrostbitError("ABORTED", "Stopped.")));
  });

test("a process that takes more is stopped as Ctrl-C stops it, and says why", async () => {
  await expect(withinMemory(1, undefined, untilStopped)).rejects.toMatchObject({
    code: "MEMORY",
    message: expect.stringMatching(/^The process took more than 1 MB/),
  });
});

test("what the caller stops stays stopped by the caller", async () => {
  const given = new AbortController();
  const run = withinMemory(1e6, given.signal, untilStopped);
  given.abort();
  await expect(run).rejects.toMatchObject({ code: "ABORTED" });
});
