// Files written so that a crash at any moment leaves the old content or the new, never half of it.
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Storage } from "../data/storage.ts";
import { FrostbitError } from "../ir/errors.ts";

const hints: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full. Free some space, or choose another folder.",
  EDQUOT: "the disk quota is used up. Free some space, or choose another folder.",
  EACCES: "permission denied.",
  EPERM: "permission denied.",
  EROFS: "the file system is read-only.",
  EISDIR: "it is a folder; expected a file.",
  ENOTDIR: "it, or a part of its path, is a file; expected a folder.",
  ENOENT: "no such file or folder.",
  EEXIST: "it exists and is not a folder.",
  ENAMETOOLONG: "the name is too long.",
  ERR_FS_FILE_TOO_LARGE:
    "it is larger than the 2 GiB that are read whole. Data can be split, or read on demand by a module; a model's weights can be stored in other files as external data.",
};

/** Of an error of the file system. */
export const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;

/** An IO error that says what could not be done to which file, and why. */
export function ioError(action: "read" | "write" | "list" | "remove", path: string, cause: unknown): FrostbitError {
  const code = codeOf(cause);
  const reason = (code !== undefined && hints[code]) || (cause instanceof Error ? cause.message : String(cause));
  return new FrostbitError("IO", `Cannot ${action} "${path}": ${reason}`, { cause });
}

/** The bytes of a file; an IO error says why not. */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    const about = await stat(path);
    if (!about.isCharacterDevice() && !about.isBlockDevice()) return await readFile(path);
  } catch (cause) {
    throw ioError("read", path, cause);
  }
  throw new FrostbitError("IO", `Cannot read "${path}": it is a device, which may have no end; expected a file.`);
}

const temporaryName = (path: string): string => join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
const temporaryPattern = /^\..+\.(\d+)\.tmp$/;

async function writeThrough(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes a rename itself survive a power cut, where the platform can. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A file of the folder that has no name yet, flushed to disk: `moveFile` gives it one. */
export async function writeUnnamed(folder: string, name: string, bytes: Uint8Array): Promise<string> {
  const path = temporaryName(join(folder, name));
  try {
    await writeThrough(path, bytes);
    return path;
  } catch (cause) {
    await rm(path, { force: true }).catch(() => undefined);
    throw ioError("write", path, cause);
  }
}

/** Removes those of this process. */
export async function removeUnnamed(folder: string): Promise<void> {
  const own = (name: string): boolean => temporaryPattern.exec(name)?.[1] === String(process.pid);
  for (const name of await readdir(folder)) if (own(name)) await rm(join(folder, name), { force: true });
}

/** Within a file system. */
export async function moveFile(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
    await syncFolder(dirname(to));
  } catch (cause) {
    throw ioError("write", to, cause);
  }
}

/** Writes a file whole or not at all: a temporary file in the same folder, flushed to disk, then renamed. */
export async function writeAtomic(path: string, bytes: Uint8Array | string): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await writeThrough(temporary, typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw ioError("write", path, cause);
  }
}

/**
 * Why a folder cannot be made: with `recursive`, Node says ENOENT for a read-only file system too. Absent where one of those
 * above it could be made after all: another run had removed it.
 */
async function reasonAgainst(path: string, cause: unknown): Promise<unknown> {
  if (codeOf(cause) !== "ENOENT" || dirname(path) === path) return cause;
  const reason = await mkdir(path).catch((other: unknown) => other);
  return codeOf(reason) === "ENOENT" ? reasonAgainst(dirname(path), cause) : reason;
}

/** Of more than one letter, which would be a drive. */
const addressPattern = /^[a-z][a-z\d+.-]+:\/\//i;

/** Throws BAD_OPTION for an address such as s3://…, of which a folder of that name would be made. */
function checkNoAddress(path: string): void {
  if (!addressPattern.test(path)) return;
  throw new FrostbitError(
    "BAD_OPTION",
    `"${path}" is an address; expected a folder. The runs of a sweep alone can be kept in a bucket of S3: frostbit sweep RECIPE --out s3://BUCKET/PREFIX.`,
  );
}

/** The folder, made if it is not there; gives the topmost that was made. Throws BAD_OPTION for an address, IO where it cannot be made. */
export async function ensureFolder(path: string): Promise<string | undefined> {
  checkNoAddress(path);
  try {
    return await mkdir(path, { recursive: true });
  } catch (cause) {
    const reason = await reasonAgainst(path, cause);
    if (reason === undefined) return (await ensureFolder(path)) ?? path;
    throw ioError("write", path, reason);
  }
}

/** Of an output folder: where those who read language models and encoders look for their files. */
const modelsFolder = "onnx";

/** As `ensureFolder`, without what writers left there, or in its `onnx/`, that were killed; throws IO where nothing can be written to it. */
export async function ensureWritable(path: string): Promise<string | undefined> {
  const firstCreated = await ensureFolder(path);
  const probe = temporaryName(join(path, "probe"));
  try {
    await writeInMadeFolder(path, () => writeThrough(probe, new Uint8Array()));
    await removeLeftovers(path);
    await removeLeftovers(join(path, modelsFolder));
    await rm(probe, { force: true });
  } catch (cause) {
    throw ioError("write", path, cause);
  }
  return firstCreated;
}

/** Another run that was refused removes the folder it made while it is empty: then it is made again, up to 100 times. */
export async function writeInMadeFolder(folder: string, write: () => Promise<void>): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const cause = await write().then(
      () => undefined,
      (error: unknown) => error,
    );
    if (cause === undefined) return;
    if (codeOf(cause) !== "ENOENT") throw cause;
    await mkdir(folder, { recursive: true }).catch(() => undefined);
  }
  await write();
}

/** From `path` up to `top`, one of those above it, the folders in which there is nothing. */
export async function removeEmptyFolders(path: string, top: string): Promise<void> {
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    const isRemoved = await rmdir(folder).then(
      () => true,
      () => false,
    );
    if (!isRemoved || folder === resolve(top)) return;
  }
}

/** Whether a process of this machine exists. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

/** Removes what writers left that were killed, where there is such a folder. */
async function removeLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch((cause: unknown) => {
    if (codeOf(cause) === "ENOENT" || codeOf(cause) === "ENOTDIR") return [];
    throw cause;
  });
  for (const name of names) {
    const pid = temporaryPattern.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(folder, name), { force: true });
  }
}

/** A storage of the files in one folder, which it makes when something is first written. */
export function folderStorage(folder: string): Storage {
  let prepared: Promise<void> | undefined;
  const prepare = async (): Promise<void> => {
    await ensureFolder(folder);
    await removeLeftovers(folder);
  };
  const pathOf = (name: string): string => {
    if (name === "" || name.startsWith(".") || /[/\\]/.test(name))
      throw new FrostbitError("IO", `Storage name "${name}"; expected a plain file name.`);
    return join(folder, name);
  };
  return {
    read: async (name) => {
      try {
        return await readFile(pathOf(name));
      } catch (cause) {
        if (codeOf(cause) === "ENOENT") return undefined;
        throw cause instanceof FrostbitError ? cause : ioError("read", join(folder, name), cause);
      }
    },
    write: async (name, bytes) => {
      prepared ??= prepare();
      await prepared;
      await writeAtomic(pathOf(name), bytes);
    },
    list: async () => {
      try {
        return (await readdir(folder)).filter((name) => !name.startsWith(".")).sort();
      } catch (cause) {
        if (codeOf(cause) === "ENOENT") return [];
        throw ioError("list", folder, cause);
      }
    },
    remove: async (name) => {
      const path = pathOf(name);
      await rm(path, { force: true }).catch((cause: unknown) => {
        throw ioError("remove", path, cause);
      });
    },
  };
}
