// What running out of memory looks like, as each engine and JavaScript say it.
import { FrostbitError } from "../ir/errors.ts";

const signs =
  /std::bad_alloc|bad allocation|Failed to allocate memory|Array buffer allocation failed|Invalid typed array length: \d{9,}|[Oo]ut of memory|Cannot allocate memory|ENOMEM|ERR_WORKER_OUT_OF_MEMORY|ERR_MEMORY_ALLOCATION_FAILED/;

const isSign = (error: unknown): boolean =>
  error instanceof Error && (signs.test(error.message) || signs.test((error as NodeJS.ErrnoException).code ?? ""));

/** MEMORY, with what to do, of an error that says there is no more; `undefined` of every other. */
export function outOfMemory(error: unknown): FrostbitError | undefined {
  if (!isSign(error) || (error instanceof FrostbitError && error.code === "MEMORY")) return undefined;
  return new FrostbitError(
    "MEMORY",
    `There was not enough memory: ${(error as Error).message.replace(/\.?$/, ".")} ${remedy}`,
    { cause: error },
  );
}

export const remedy =
  "Train with smaller batches: --accumulate computes one in parts, --memory-limit on the native engine finds how many. A run that trained goes on from its checkpoint with --resume.";
