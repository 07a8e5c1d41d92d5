// The units of a sweep through a queue, which workers serve: what is missing is in it until the store has it.
import { FrostbitError } from "../../ir/errors.ts";
import { endedAs } from "./run-in-turn.ts";
import type { Execute, PlannedUnit } from "./run-sweep.ts";
import type { FailedUnit, UnitQueue } from "./unit-queue.ts";
import type { UnitStore } from "./unit-store.ts";

/** How often the queue is looked after: what failed in it, and what its server has lost. */
const tendMs = 2000;
/** A server that has lost all is filled from the front: workers take units in turn. */
const addedAtOnce = 256;

type WithTask = Pick<PlannedUnit, "task">;

export interface ThroughQueueOptions {
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
  /** After each look at the store. */
  readonly onLook: (left: number) => void;
}

export const throughQueue =
  <Planned extends WithTask = PlannedUnit>(
    queue: UnitQueue,
    store: UnitStore,
    { signal, note, onLook }: ThroughQueueOptions,
  ): Execute<Planned> =>
  async (units, ended) => {
    const left = new Map(units.map((unit) => [unit.task.id, unit]));
    const tend = tending(queue, left, note);
    while (left.size > 0) {
      if (signal.aborted) throw new FrostbitError("ABORTED", "Stopped.");
      onLook(left.size);
      const finished = await store.finishedUnits();
      for (const unit of [...left.values()].filter(({ task }) => finished.has(task.id))) {
        left.delete(unit.task.id);
        await ended(unit, await endedAs(unit.task, store, null));
      }
      for (const { id, error } of tend()) {
        const unit = left.get(id);
        if (!unit) continue;
        left.delete(id);
        await store.recordFailure(id, error);
        await ended(unit, { error });
      }
      await new Promise((done) => setTimeout(done, store.pollMs));
    }
  };

/** Looks after the queue beside the store, since a server that is away answers when it is back; gives what failed meanwhile. */
function tending(
  queue: UnitQueue,
  left: ReadonlyMap<string, WithTask>,
  note: (text: string) => void,
): () => readonly FailedUnit[] {
  const failed: FailedUnit[] = [];
  let [isBusy, isFilled, isAlone, since] = [false, false, false, Number.NEGATIVE_INFINITY];
  const tasks = (from: number) => [...left.values()].slice(from, from + addedAtOnce).map(({ task }) => task);
  const tend = async (): Promise<void> => {
    const found = await queue.takeFailed((id) => left.has(id));
    // What failed before this sweep is tried again.
    if (isFilled) failed.push(...found);
    const isFailed = new Set(failed.map(({ id }) => id));
    for (let from = 0; from < (isFilled ? 1 : left.size); from += addedAtOnce)
      await queue.add(tasks(from).filter(({ id }) => !isFailed.has(id)));
    if (isFilled && !isAlone && (await queue.workers()) === 0) {
      isAlone = true;
      note(
        'No worker serves the queue. "frostbit worker --queue URL" starts one, on any machine that has the folders.',
      );
    }
    isFilled = true;
  };
  return () => {
    if (!isBusy && performance.now() - since > tendMs) {
      isBusy = true;
      void tend()
        .catch((cause: unknown) => note(`The queue: ${cause instanceof Error ? cause.message : String(cause)}`))
        .finally(() => {
          [isBusy, since] = [false, performance.now()];
        });
    }
    return failed.splice(0);
  };
}
