// Inspects a model that nobody knows within limits of memory and time: in a thread of its own, which is ended where it goes beyond them.
import { basename } from "node:path";
import { Worker } from "node:worker_threads";
import type { Inspection, InspectOptions } from "../inspect/inspect-model.ts";
import { type ErrorCode, FrostbitError } from "../ir/errors.ts";

interface Limits {
  /** MB (10⁶ bytes) that the process takes at most. */
  readonly maxMemory: number;
  /** Seconds; no limit where absent. */
  readonly maxTime?: number;
}

interface InspectedFile {
  readonly opset: number;
  readonly inspection: Inspection;
}

export type WorkerAnswer =
  | { readonly result: InspectedFile }
  | { readonly failure: { readonly code: ErrorCode; readonly lines: readonly string[] } };

const pollMs = 50;

const ended = (path: string, what: string): FrostbitError =>
  new FrostbitError("BAD_MODEL", `${basename(path)}: inspecting it was ended, since it ${what}`);

/** Throws what `readModel` and `inspectModel` throw, and BAD_MODEL where a limit ended it, naming the limit. */
export function limitedInspection(path: string, options: InspectOptions, limits: Limits): Promise<InspectedFile> {
  const { maxMemory, maxTime } = limits;
  const tooMuch = () => ended(path, `took more than ${maxMemory} MB of memory. --max-memory sets another limit.`);
  const worker = new Worker(new URL("../cli/inspect-worker.js", import.meta.url), {
    workerData: { path, options },
    resourceLimits: { maxOldGenerationSizeMb: Math.ceil((maxMemory * 1e6) / 2 ** 20) },
  });
  const start = performance.now();
  return new Promise<InspectedFile>((resolve, reject) => {
    const watch = setInterval(() => {
      if (process.memoryUsage.rss() > maxMemory * 1e6) reject(tooMuch());
      if (maxTime !== undefined && performance.now() - start > maxTime * 1000)
        reject(ended(path, `took more than ${maxTime} s. --max-time sets another limit.`));
    }, pollMs);
    worker.once("message", (answer: WorkerAnswer) => {
      if ("result" in answer) resolve(answer.result);
      else reject(new FrostbitError(answer.failure.code, answer.failure.lines));
    });
    worker.once("error", (error: Error & { code?: string }) => {
      reject(error.code === "ERR_WORKER_OUT_OF_MEMORY" ? tooMuch() : error);
    });
    worker.once("exit", () => clearInterval(watch));
  }).finally(() => worker.terminate());
}
