// Computes a unit, from wherever it was stopped, and puts its files in their place.
import { rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FrostbitError } from "../../ir/errors.ts";
import type { Progress } from "../../run/context.ts";
import { savedFingerprint } from "../../training/checkpoint.ts";
import { fingerprintOf } from "../claim-out.ts";
import { type FolderLock, lockFolder } from "../lock-folder.ts";
import { identityOf, quantizeFileStaged } from "../quantize-file.ts";
import { folderStorage } from "../storage.ts";
import type { Unit } from "./unit.ts";
import { isFinished, type UnitError, type UnitResult, type UnitStore, unitFolder, workFolder } from "./unit-store.ts";

export interface ComputeOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly onNote?: (note: string) => void;
}

const pollMs = 500;

/**
 * Gives what became of the unit: what another process finished is not computed again, and one that it has in hand is waited for.
 * Throws ABORTED after `signal`, and what is wrong with the store.
 */
export async function computeUnit(unit: Unit, store: UnitStore, options: ComputeOptions = {}): Promise<UnitResult> {
  const work = workFolder(store, unit.id);
  let lock: FolderLock | undefined;
  while (!lock) {
    if (options.signal?.aborted) throw new FrostbitError("ABORTED", "Stopped.");
    const result = await store.resultOf(unit.id);
    if (isFinished(result)) return result;
    lock = await lockUnlessHeld(work);
    if (!lock) await new Promise((done) => setTimeout(done, pollMs));
  }
  try {
    return await computeLocked(unit, store, lock, options);
  } finally {
    // A checkpoint stays, for whoever goes on. What another process has taken meanwhile is not empty.
    if (!options.signal?.aborted) await rm(join(work, "run"), { recursive: true, force: true });
    await lock.release();
    for (const folder of [work, dirname(work)]) await rmdir(folder).catch(() => undefined);
  }
}

/** `undefined` while another process holds it. */
async function lockUnlessHeld(folder: string): Promise<FolderLock | undefined> {
  try {
    return await lockFolder(folder);
  } catch (error) {
    if (error instanceof FrostbitError && error.code === "BAD_OPTION") return undefined;
    throw error;
  }
}

async function computeLocked(
  unit: Unit,
  store: UnitStore,
  lock: FolderLock,
  options: ComputeOptions,
): Promise<UnitResult> {
  const { id, job, shared } = unit;
  const finished = await store.resultOf(id);
  if (isFinished(finished)) return finished;
  const run = join(workFolder(store, id), "run");
  try {
    const resume = await isOf(unit, run);
    const given = { ...job, ...options, out: run, resume, overwrite: !resume };
    const { report } = await quantizeFileStaged(given, shared, { lock, finalOut: store.pathOf(unitFolder(id)) });
    await lock.check();
    return { report, folder: await store.finishUnit(id, run) };
  } catch (cause) {
    if (cause instanceof FrostbitError && cause.code === "ABORTED") throw cause;
    return { error: errorOf(cause) };
  }
}

/** Whether the checkpoint is of this unit on a machine like this one; the bytes of others would differ. */
async function isOf({ job, shared }: Unit, run: string): Promise<boolean> {
  const saved = await savedFingerprint(folderStorage(join(run, "checkpoint")));
  return saved !== undefined && saved.fingerprint === fingerprintOf((await identityOf(job, shared)).fields);
}

export const errorOf = (cause: unknown): UnitError => ({
  code: cause instanceof FrostbitError ? cause.code : "INTERNAL",
  message: cause instanceof Error ? cause.message : String(cause),
});
