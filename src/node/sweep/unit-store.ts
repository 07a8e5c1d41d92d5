// Where a sweep's units are, in a folder or in a bucket: what is finished there is all that is known of them, whoever computed them.
import { readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Report } from "../../report/report.ts";
import { codeOf, ioError } from "../storage.ts";

export const errorSchema = z.object({ code: z.string(), message: z.string() });

/** Why a unit failed. */
export type UnitError = z.infer<typeof errorSchema>;

/** Of a unit whose files are whole. */
export interface FinishedUnit {
  readonly report: Report;
  /** From where the sweep is. */
  readonly folder: string;
}

/** What became of a unit. */
export type UnitResult = FinishedUnit | { readonly error: UnitError };

/** Keeps finished units whole, or not at all. */
export interface UnitStore {
  /** As other processes open it. */
  readonly address: string;
  /** This machine's folder for units in hand, `work/ID`, with their checkpoints; whoever computes one holds its folder. */
  readonly local: string;
  /** How often to look for what others have finished. */
  readonly pollMs: number;
  /** For messages. */
  readonly pathOf: (name: string) => string;
  /** `undefined` where the unit is not finished and has not failed. */
  readonly resultOf: (id: string) => Promise<UnitResult | undefined>;
  readonly finishedUnits: () => Promise<ReadonlySet<string>>;
  /** Takes the files of a folder, and gives theirs. */
  readonly finishUnit: (id: string, computed: string) => Promise<string>;
  readonly recordFailure: (id: string, error: UnitError) => Promise<void>;
  readonly clearFailure: (id: string) => Promise<void>;
  readonly remove: (id: string) => Promise<void>;
  /** A file beside the units. */
  readonly write: (name: string, text: string) => Promise<void>;
}

export const isFinished = (result: UnitResult | undefined): result is FinishedUnit =>
  result !== undefined && "report" in result;

/** From where the sweep is. */
export const unitFolder = (id: string): string => `units/${id}`;

export const workFolder = ({ local }: UnitStore, id: string): string => join(local, "work", id);

/** Nothing where there is no such folder. */
export async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return [];
    throw ioError("list", folder, cause);
  }
}

/** Whether there is a checkpoint to go on from. */
export const isStopped = async (store: UnitStore, id: string): Promise<boolean> =>
  (await namesIn(join(workFolder(store, id), "run/checkpoint"))).length > 0;

const removeWork = (store: UnitStore, id: string): Promise<void> =>
  rm(workFolder(store, id), { recursive: true, force: true });

/** Removes what is there of a unit, so that it is computed again. */
export async function removeUnit(store: UnitStore, id: string): Promise<void> {
  await store.remove(id);
  await removeWork(store, id);
}

/** Removes what processes left that were killed after their unit was finished. */
export async function clearWork(store: UnitStore, isDone: (id: string) => boolean): Promise<void> {
  const folder = join(store.local, "work");
  for (const id of (await namesIn(folder)).filter(isDone)) await removeWork(store, id);
  await rmdir(folder).catch(() => undefined);
}
