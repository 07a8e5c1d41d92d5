// Units in a bucket of S3, whose objects are there whole or not at all, but not moved together.
//
//   units/ID/TRY/       what one try uploaded
//   finished/ID.json    which try is the unit: written when all of it was there
//   failed/ID.json      why a unit failed
import { createHash, randomUUID } from "node:crypto";
import { lstat, mkdir, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative, sep } from "node:path";
import { z } from "zod";
import type { Storage } from "../../data/storage.ts";
import { FrostbitError } from "../../ir/errors.ts";
import { reportSchema } from "../../report/report.ts";
import { ioError, readBytes } from "../storage.ts";
import { errorSchema, type UnitResult, type UnitStore, unitFolder } from "./unit-store.ts";

const finishedSchema = z.object({ folder: z.string() });
const tryLength = 8;

const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value, null, 1)}\n`);
const parsed = (bytes: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(bytes));
const fileOf = (id: string): string => `${id}.json`;

/** `open` gives what is below a prefix. */
export async function bucketStore(url: string, open: (prefix: string) => Storage): Promise<UnitStore> {
  const [all, finished, failed] = [open(""), open("finished/"), open("failed/")];
  const clearFailure = (id: string): Promise<void> => failed.remove(fileOf(id));
  return {
    address: url,
    local: await localFolder(url),
    pollMs: 2000,
    pathOf: (name) => `${url}/${name}`,
    resultOf: async (id): Promise<UnitResult | undefined> => {
      const mark = await finished.read(fileOf(id));
      if (mark) {
        const { folder } = finishedSchema.parse(parsed(mark));
        const report = await all.read(`${folder}/report.json`);
        if (report) return { report: reportSchema.parse(parsed(report)), folder };
      }
      const failure = await failed.read(fileOf(id));
      return failure && { error: errorSchema.parse(parsed(failure)) };
    },
    finishedUnits: async () => new Set((await finished.list()).map((name) => name.replace(/\.json$/, ""))),
    finishUnit: async (id, computed) => {
      const folder = `${unitFolder(id)}/${randomUUID().slice(0, tryLength)}`;
      await upload(computed, open(`${folder}/`));
      await finished.write(fileOf(id), bytesOf({ folder }));
      await clearFailure(id);
      return folder;
    },
    recordFailure: (id, error) => failed.write(fileOf(id), bytesOf(error)),
    clearFailure,
    remove: async (id) => {
      await finished.remove(fileOf(id));
      const tries = open(`${unitFolder(id)}/`);
      for (const name of await tries.list()) await tries.remove(name);
      await clearFailure(id);
    },
    write: (name, text) => all.write(name, new TextEncoder().encode(text)),
  };
}

async function upload(folder: string, storage: Storage): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((cause: unknown) => {
    throw ioError("list", folder, cause);
  });
  for (const entry of entries.filter((one) => one.isFile())) {
    const path = join(entry.parentPath, entry.name);
    await storage.write(relative(folder, path).split(sep).join("/"), await readBytes(path));
  }
}

/** In the folder of temporary files, which others may write to: below a folder of this user alone. */
async function localFolder(url: string): Promise<string> {
  const own = join(tmpdir(), `frostbit-${process.getuid?.() ?? "units"}`);
  await mkdir(own, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw ioError("write", own, cause);
  });
  if (process.getuid && (await lstat(own)).uid !== process.getuid())
    throw new FrostbitError("IO", `"${own}" belongs to another user. Set TMPDIR to a folder of your own.`);
  return join(own, createHash("sha256").update(url).digest("hex").slice(0, 16));
}
