// A file that is read in parts, for as long as it stays what it was.
import { closeSync, fstatSync, openSync, readSync, type Stats } from "node:fs";
import { FrostbitError } from "../ir/errors.ts";
import type { ByteSource } from "../ir/tensor-source.ts";
import { ioError } from "./storage.ts";

/** What one call of the operating system reads at most. */
const maxReadBytes = 2 ** 30;

/** Throws IO where the file cannot be read, and in `read` where it is no longer the file that was opened. */
export function fileSource(path: string): ByteSource {
  const opened = inFile(path, (handle) => fstatSync(handle));
  if (!opened.isFile())
    throw new FrostbitError(
      "IO",
      `Cannot read "${path}": ${opened.isDirectory() ? "it is a folder" : "it cannot be read in parts"}; expected a file.`,
    );
  return {
    sizeBytes: opened.size,
    read: (offset, length) =>
      inFile(path, (handle) => {
        checkUnchanged(path, opened, fstatSync(handle));
        return readRange(handle, path, offset, length);
      }),
  };
}

function checkUnchanged(path: string, opened: Stats, now: Stats): void {
  if (now.size === opened.size && now.mtimeMs === opened.mtimeMs && now.ino === opened.ino) return;
  throw new FrostbitError(
    "IO",
    `"${path}" was changed while it was in use: opened with ${opened.size} bytes of ${opened.mtime.toISOString()}, it now has ${now.size} of ${now.mtime.toISOString()}. Start again, and leave the file as it is meanwhile.`,
  );
}

function readRange(handle: number, path: string, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const count = readSync(handle, bytes, done, Math.min(length - done, maxReadBytes), offset + done);
    if (count === 0) throw new FrostbitError("IO", `${path} ended at byte ${offset + done} while being read.`);
    done += count;
  }
  return bytes;
}

/** Opened for each use, so that a model kept in memory keeps no file open. */
function inFile<T>(path: string, use: (handle: number) => T): T {
  try {
    const handle = openSync(path, "r");
    try {
      return use(handle);
    } finally {
      closeSync(handle);
    }
  } catch (cause) {
    throw cause instanceof FrostbitError ? cause : ioError("read", path, cause);
  }
}
