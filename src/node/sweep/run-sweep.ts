// A sweep: what is finished is read from its store, what is missing is computed by whoever does that, and all of it is one table.
import type { SweepPlan } from "../../ablate/plan.ts";
import { type SweepCell, type SweepFacts, summarizeSweep } from "../../ablate/summarize-sweep.ts";
import type { Sweep } from "../../report/sweep.ts";
import { lockFolder } from "../lock-folder.ts";
import { ensureWritable } from "../storage.ts";
import { versions } from "../versions.ts";
import type { UnitTask } from "./task.ts";
import { clearWork, isFinished, removeUnit, type UnitResult, type UnitStore } from "./unit-store.ts";

export interface PlannedUnit extends SweepCell {
  readonly task: UnitTask;
}

/** Computes units; `ended` hears of each, in whatever order. Throws ABORTED where it was stopped. */
export type Execute<Planned extends { readonly task: UnitTask } = PlannedUnit> = (
  units: readonly Planned[],
  ended: (unit: Planned, result: UnitResult) => Promise<void>,
) => Promise<void>;

export interface SweepJob {
  readonly plan: SweepPlan;
  readonly units: readonly PlannedUnit[];
  readonly store: UnitStore;
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

/** `sweep.json` and `sweep.html` in the store are of what there is, also on the way. Throws what `execute` throws, and IO. */
export async function runSweep(job: SweepJob): Promise<Sweep> {
  await ensureWritable(job.store.local);
  const lock = await lockFolder(job.store.local);
  try {
    return await sweepLocked(job);
  } finally {
    await lock.release();
  }
}

async function sweepLocked({ plan, units, store, facts, execute, overwrite, onUnit }: SweepJob): Promise<Sweep> {
  const results = new Map<string, UnitResult>();
  for (const { id } of units) {
    if (overwrite) await removeUnit(store, id);
    const result = await store.resultOf(id);
    if (result) results.set(id, result);
  }
  const { renderSweep } = await import("../../report/render-sweep.ts");
  const placed = (unit: PlannedUnit): SweepCell => {
    const result = results.get(unit.id);
    return isFinished(result) ? { ...unit, folder: result.folder } : unit;
  };
  let written = 0;
  const write = async (): Promise<Sweep> => {
    written = performance.now();
    const now = { createdAt: new Date().toISOString(), versions: versions() };
    const sweep = summarizeSweep(plan, units.map(placed), results, { ...facts, ...now });
    await store.write("sweep.json", `${JSON.stringify(sweep, null, 1)}\n`);
    await store.write("sweep.html", renderSweep(sweep));
    return sweep;
  };
  if (!execute) return write();
  // What failed is tried again.
  const missing = units.filter(({ id }) => !isFinished(results.get(id)));
  for (const { id } of missing) {
    results.delete(id);
    await store.clearFailure(id);
  }
  let sweep = await write();
  try {
    await execute(missing, async (unit, result) => {
      results.set(unit.id, result);
      onUnit?.(unit, result, results.size);
      if (performance.now() - written > writeEveryMs) await write();
    });
  } finally {
    await clearWork(store, (id) => isFinished(results.get(id)));
    sweep = await write();
  }
  return sweep;
}
