// A process that computes units for the one that started it, one after the other: it may be deaf for seconds, or die.
import { rmSync } from "node:fs";
import { FrostbitError } from "../ir/errors.ts";
import { heldLocks } from "../node/lock-folder.ts";
import { computeUnit, errorOf } from "../node/sweep/compute-unit.ts";
import { openStore } from "../node/sweep/open-store.ts";
import type { TaskOutcome, UnitTask } from "../node/sweep/task.ts";
import type { Progress } from "../run/context.ts";
import { outOfMemory } from "../run/out-of-memory.ts";
import { unitOfTask } from "./unit-source.ts";

/** What it is told. */
export type ToUnitProcess = { readonly task: UnitTask } | "stop";

/** What it tells. */
export type FromUnitProcess =
  | { readonly progress: Progress }
  | { readonly note: string }
  | { readonly outcome: TaskOutcome | "stopped" };

const [threads] = process.argv.slice(2).map(Number);
const unitOf = unitOfTask(threads);
const tell = (message: FromUnitProcess): void => {
  if (process.connected) process.send?.(message);
};
const progressEveryMs = 200;
let stopping = new AbortController();

async function compute(task: UnitTask): Promise<TaskOutcome | "stopped"> {
  const { signal } = stopping;
  const note = (text: string): void => tell({ note: text });
  let told = 0;
  try {
    const unit = await unitOf(task, note);
    const result = await computeUnit(unit, await openStore(task.out), {
      signal,
      onNote: note,
      onProgress: (progress) => {
        if (performance.now() - told < progressEveryMs) return;
        told = performance.now();
        tell({ progress });
      },
    });
    return "error" in result ? result.error : null;
  } catch (cause) {
    const error = outOfMemory(cause) ?? cause;
    return error instanceof FrostbitError && error.code === "ABORTED" ? "stopped" : errorOf(error);
  }
}

process.on("message", (message: ToUnitProcess) => {
  if (message === "stop") {
    stopping.abort();
    return;
  }
  stopping = new AbortController();
  void compute(message.task).then((outcome) => tell({ outcome }));
});
// Whoever started it stops it; a terminal tells both of Ctrl-C.
process.on("SIGINT", () => {});
process.on("disconnect", () => {
  for (const lock of heldLocks) rmSync(lock, { force: true });
  process.exit();
});
