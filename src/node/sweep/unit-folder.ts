// Units in a folder, which all machines see.
//
//   units/ID/         a finished unit, as `quantize` writes it, moved there when it was whole
//   failed/ID.json    why a unit failed
//   work/ID/          one in hand
import { readFile, rename, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { reportSchema } from "../../report/report.ts";
import { codeOf, ensureFolder, ioError, syncFolder, writeAtomic } from "../storage.ts";
import { errorSchema, namesIn, type UnitResult, type UnitStore, unitFolder } from "./unit-store.ts";

export function folderStore(out: string): UnitStore {
  const failureFile = (id: string): string => join(out, "failed", `${id}.json`);
  const clearFailure = (id: string): Promise<void> => rm(failureFile(id), { force: true });
  return {
    address: resolve(out),
    local: out,
    pollMs: 250,
    pathOf: (name) => join(out, name),
    resultOf: (id) => resultIn(out, id, failureFile(id)),
    finishedUnits: async () => new Set(await namesIn(join(out, "units"))),
    finishUnit: async (id, computed) => {
      await moveWhole(computed, join(out, unitFolder(id)));
      await clearFailure(id);
      return unitFolder(id);
    },
    recordFailure: async (id, error) => {
      const path = failureFile(id);
      await ensureFolder(dirname(path));
      await writeAtomic(path, `${JSON.stringify(error, null, 1)}\n`);
    },
    clearFailure,
    remove: async (id) => {
      await rm(join(out, unitFolder(id)), { recursive: true, force: true });
      await clearFailure(id);
    },
    write: (name, text) => writeAtomic(join(out, name), text),
  };
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined;
    throw ioError("read", path, cause);
  }
}

async function resultIn(out: string, id: string, failureFile: string): Promise<UnitResult | undefined> {
  const folder = unitFolder(id);
  const report = await readText(join(out, folder, "report.json"));
  if (report !== undefined) return { report: reportSchema.parse(JSON.parse(report)), folder };
  const failure = await readText(failureFile);
  return failure === undefined ? undefined : { error: errorSchema.parse(JSON.parse(failure)) };
}

async function moveWhole(from: string, place: string): Promise<void> {
  await ensureFolder(dirname(place));
  try {
    await rename(from, place);
    await syncFolder(dirname(place));
  } catch (cause) {
    throw ioError("write", place, cause);
  }
}
