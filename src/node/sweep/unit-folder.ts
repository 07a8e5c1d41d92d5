// Where a sweep's units are: the files of finished ones are all that is known of them, whoever computed them.
//
//   units/ID/         a finished unit, as `quantize` writes it, moved there when it was whole
//   failed/ID.json    why a unit failed
//   work/ID/          one in hand, with its checkpoint; whoever computes it holds the folder
import { readdir, readFile, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { type Report, reportSchema } from "../../report/report.ts";
import { codeOf, ensureFolder, ioError, syncFolder, writeAtomic } from "../storage.ts";

const errorSchema = z.object({ code: z.string(), message: z.string() });

/** Why a unit failed. */
export type UnitError = z.infer<typeof errorSchema>;

/** What became of a unit. */
export type UnitResult = { readonly report: Report } | { readonly error: UnitError };

export const isFinished = (result: UnitResult | undefined): boolean => result !== undefined && "report" in result;

/** From the sweep's folder. */
export const unitFolder = (id: string): string => `units/${id}`;
export const workFolder = (id: string): string => `work/${id}`;
const failureFile = (id: string): string => `failed/${id}.json`;

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined;
    throw ioError("read", path, cause);
  }
}

/** `undefined` where the unit is not finished and has not failed. */
export async function resultOf(out: string, id: string): Promise<UnitResult | undefined> {
  const report = await readText(join(out, unitFolder(id), "report.json"));
  if (report !== undefined) return { report: reportSchema.parse(JSON.parse(report)) };
  const failure = await readText(join(out, failureFile(id)));
  return failure === undefined ? undefined : { error: errorSchema.parse(JSON.parse(failure)) };
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return [];
    throw ioError("list", folder, cause);
  }
}

/** Whether there is a checkpoint to go on from. */
export const isStopped = async (out: string, id: string): Promise<boolean> =>
  (await namesIn(join(out, workFolder(id), "run/checkpoint"))).length > 0;

export const finishedUnits = async (out: string): Promise<ReadonlySet<string>> =>
  new Set(await namesIn(join(out, "units")));

/** Moves what was computed to its place, from where it is whole or not at all. */
export async function finishUnit(out: string, id: string, computed: string): Promise<void> {
  const place = join(out, unitFolder(id));
  await ensureFolder(dirname(place));
  try {
    await rename(computed, place);
    await syncFolder(dirname(place));
  } catch (cause) {
    throw ioError("write", place, cause);
  }
  await clearFailure(out, id);
}

export async function recordFailure(out: string, id: string, error: UnitError): Promise<void> {
  const path = join(out, failureFile(id));
  await ensureFolder(dirname(path));
  await writeAtomic(path, `${JSON.stringify(error, null, 1)}\n`);
}

export const clearFailure = (out: string, id: string): Promise<void> => rm(join(out, failureFile(id)), { force: true });

/** Removes what processes left that were killed after their unit was finished. */
export async function clearWork(out: string, isDone: (id: string) => boolean): Promise<void> {
  const ids = (await namesIn(join(out, "work"))).filter(isDone);
  for (const id of ids) await rm(join(out, workFolder(id)), { recursive: true, force: true });
  await rmdir(join(out, "work")).catch(() => undefined);
}

/** Removes what is there of a unit, so that it is computed again. */
export async function removeUnit(out: string, id: string): Promise<void> {
  for (const folder of [unitFolder(id), workFolder(id)]) await rm(join(out, folder), { recursive: true, force: true });
  await clearFailure(out, id);
}
