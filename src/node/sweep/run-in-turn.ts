// The units of a sweep one after the other, on this machine.
import type { ComputeOptions } from "./compute-unit.ts";
import type { Execute, PlannedUnit } from "./run-sweep.ts";
import type { ComputeTask, UnitTask } from "./task.ts";
import { maxTries, mayPass } from "./tries.ts";
import type { UnitError, UnitResult, UnitStore } from "./unit-store.ts";

/** What is not finished after three tries has failed, and the next one is computed. */
export const inTurn =
  (store: UnitStore, compute: ComputeTask, optionsFor: (unit: PlannedUnit) => ComputeOptions): Execute =>
  async (units, ended) => {
    for (const unit of units) await ended(unit, await tryUnit(unit.task, store, compute, optionsFor(unit)));
  };

/** Records what failed. */
export async function tryUnit(
  task: UnitTask,
  store: UnitStore,
  compute: ComputeTask,
  options: ComputeOptions,
): Promise<UnitResult> {
  let error: UnitError | null = null;
  for (let tries = 0; tries < maxTries; tries++) {
    error = await compute(task, options);
    if (error === null || !mayPass(error)) break;
  }
  const result = await endedAs(task, store, error);
  if ("error" in result) await store.recordFailure(task.id, result.error);
  return result;
}

/** The store says what is finished. */
export async function endedAs({ id, name }: UnitTask, store: UnitStore, error: UnitError | null): Promise<UnitResult> {
  if (error) return { error };
  const result = await store.resultOf(id);
  if (result) return result;
  return { error: { code: "IO", message: `${name} was computed, but "${store.address}" does not hold it.` } };
}
