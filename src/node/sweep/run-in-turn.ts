// The units of a sweep one after the other, on this machine.
import type { ComputeOptions } from "./compute-unit.ts";
import type { Execute, PlannedUnit } from "./run-sweep.ts";
import type { ComputeTask, UnitTask } from "./task.ts";
import { maxTries, mayPass } from "./tries.ts";
import { recordFailure, resultOf, type UnitError, type UnitResult } from "./unit-folder.ts";

/** What is not finished after three tries has failed, and the next one is computed. */
export const inTurn =
  (compute: ComputeTask, optionsFor: (unit: PlannedUnit) => ComputeOptions): Execute =>
  async (units, ended) => {
    for (const unit of units) await ended(unit, await tryUnit(unit.task, compute, optionsFor(unit)));
  };

/** Records what failed. */
export async function tryUnit(task: UnitTask, compute: ComputeTask, options: ComputeOptions): Promise<UnitResult> {
  let error: UnitError | null = null;
  for (let tries = 0; tries < maxTries; tries++) {
    error = await compute(task, options);
    if (error === null || !mayPass(error)) break;
  }
  const result = await endedAs(task, error);
  if ("error" in result) await recordFailure(task.out, task.id, result.error);
  return result;
}

/** The files say what is finished. */
export async function endedAs({ out, id, name }: UnitTask, error: UnitError | null): Promise<UnitResult> {
  if (error) return { error };
  const result = await resultOf(out, id);
  if (result) return result;
  return { error: { code: "IO", message: `${name} was computed, but "${out}" does not hold it.` } };
}
