// A sweep: what is finished is read from its folder, what is missing is computed by whoever does that, and all of it is one table.
import { join } from "node:path";
import type { SweepPlan } from "../../ablate/plan.ts";
import { type SweepCell, type SweepFacts, summarizeSweep } from "../../ablate/summarize-sweep.ts";
import type { Sweep } from "../../report/sweep.ts";
import { lockFolder } from "../lock-folder.ts";
import { ensureWritable, writeAtomic } from "../storage.ts";
import { versions } from "../versions.ts";
import type { UnitTask } from "./task.ts";
import { clearFailure, clearWork, isFinished, removeUnit, resultOf, type UnitResult } from "./unit-folder.ts";

export interface PlannedUnit extends SweepCell {
  readonly task: UnitTask;
}

/** Computes units; `ended` hears of each, in whatever order. Throws ABORTED where it was stopped. */
export type Execute = (
  units: readonly PlannedUnit[],
  ended: (unit: PlannedUnit, result: UnitResult) => Promise<void>,
) => Promise<void>;

export interface SweepJob {
  readonly plan: SweepPlan;
  readonly units: readonly PlannedUnit[];
  readonly out: string;
  readonly facts: Pick<SweepFacts, "title" | "data" | "isText">;
  /** Absent: nothing is computed, and the table is of what there is. */
  readonly execute?: Execute;
  /** Whether units that are finished are computed again. */
  readonly overwrite?: boolean;
  /** After each unit, how many are done. */
  readonly onUnit?: (unit: PlannedUnit, result: UnitResult, done: number) => void;
}

/** The page takes a tenth of a second, and nobody reads it more often. */
const writeEveryMs = 10_000;

/** `sweep.json` and `sweep.html` in `out` are of what there is, also on the way. Throws what `execute` throws, and IO. */
export async function runSweep(job: SweepJob): Promise<Sweep> {
  await ensureWritable(job.out);
  const lock = await lockFolder(job.out);
  try {
    return await sweepLocked(job);
  } finally {
    await lock.release();
  }
}

async function sweepLocked({ plan, units, out, facts, execute, overwrite, onUnit }: SweepJob): Promise<Sweep> {
  const results = new Map<string, UnitResult>();
  for (const { id } of units) {
    if (overwrite) await removeUnit(out, id);
    const result = await resultOf(out, id);
    if (result) results.set(id, result);
  }
  const { renderSweep } = await import("../../report/render-sweep.ts");
  let written = 0;
  const write = async (): Promise<Sweep> => {
    written = performance.now();
    const now = { createdAt: new Date().toISOString(), versions: versions() };
    const sweep = summarizeSweep(plan, units, results, { ...facts, ...now });
    await writeAtomic(join(out, "sweep.json"), `${JSON.stringify(sweep, null, 1)}\n`);
    await writeAtomic(join(out, "sweep.html"), renderSweep(sweep));
    return sweep;
  };
  if (!execute) return write();
  // What failed is tried again.
  const missing = units.filter(({ id }) => !isFinished(results.get(id)));
  for (const { id } of missing) {
    results.delete(id);
    await clearFailure(out, id);
  }
  let sweep = await write();
  try {
    await execute(missing, async (unit, result) => {
      results.set(unit.id, result);
      onUnit?.(unit, result, results.size);
      if (performance.now() - written > writeEveryMs) await write();
    });
  } finally {
    await clearWork(out, (id) => isFinished(results.get(id)));
    sweep = await write();
  }
  return sweep;
}
