// The process that computes units, from the one that started it: which notices at once when it dies, and starts another.
import { type ChildProcess, fork } from "node:child_process";
import { FrostbitError } from "../ir/errors.ts";
import { withoutLaunch } from "../node/open-ranks.ts";
import type { ComputeOptions } from "../node/sweep/compute-unit.ts";
import type { ComputeTask, TaskOutcome, UnitTask } from "../node/sweep/task.ts";
import { crashed } from "../node/sweep/tries.ts";
import { isTraining } from "./quantize.ts";
import type { FromUnitProcess, ToUnitProcess } from "./unit-process.ts";

export interface UnitChild {
  readonly compute: ComputeTask;
  readonly close: () => void;
}

/** Starts a process when the first unit comes, and serves all others with it. */
export function unitChild(threads: number | undefined): UnitChild {
  let child: ChildProcess | undefined;
  const start = (): ChildProcess => {
    const started = fork(
      new URL("../cli/unit-process.js", import.meta.url),
      threads === undefined ? [] : [`${threads}`],
      {
        stdio: ["ignore", "ignore", "inherit", "ipc"],
        env: withoutLaunch(process.env),
      },
    );
    // What cannot be sent to a dead process shows in its exit.
    started.on("error", () => {});
    return started;
  };
  return {
    compute: async (task, options) => {
      if (!child?.connected) child = start();
      return computeIn(child, task, options);
    },
    close: () => {
      if (child?.connected) child.disconnect();
    },
  };
}

/** What computes no step whose result is kept ends within it, or is ended. */
const stopMs = 300;

const stopped = (): FrostbitError => new FrostbitError("ABORTED", "Stopped.");

function computeIn(
  child: ChildProcess,
  task: UnitTask,
  { signal, onProgress, onNote }: ComputeOptions,
): Promise<TaskOutcome> {
  const tell = (message: ToUnitProcess): void => {
    if (child.connected) child.send(message);
  };
  let [phase, killer]: [string, NodeJS.Timeout | undefined] = ["", undefined];
  const stop = (): void => {
    tell("stop");
    if (!isTraining(phase)) killer = setTimeout(() => child.kill("SIGKILL"), stopMs);
  };
  return new Promise<TaskOutcome>((resolve, reject) => {
    const hear = (message: FromUnitProcess): void => {
      if ("progress" in message) {
        phase = message.progress.phase;
        onProgress?.(message.progress);
      } else if ("note" in message) onNote?.(message.note);
      else {
        end();
        if (message.outcome === "stopped") reject(stopped());
        else resolve(message.outcome);
      }
    };
    const die = (code: number | null, by: NodeJS.Signals | null): void => {
      end();
      if (signal?.aborted) reject(stopped());
      else resolve({ code: crashed, message: `Its process ended ${by === null ? `with code ${code}` : `by ${by}`}.` });
    };
    const end = (): void => {
      clearTimeout(killer);
      child.off("message", hear);
      child.off("exit", die);
      signal?.removeEventListener("abort", stop);
    };
    child.on("message", hear);
    child.on("exit", die);
    signal?.addEventListener("abort", stop);
    tell({ task });
    if (signal?.aborted) stop();
  });
}
