// Files as they are or compressed with gzip, told apart by their first bytes.
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { FrostbitError } from "../ir/errors.ts";
import { readBytes } from "./storage.ts";

/** No data file is larger unpacked: what is would not fit in memory either. */
const mostBytes = 2 ** 32;

/** A file's bytes, unpacked if it is a gzip file, whatever it is called. */
export async function readUnpacked(path: string): Promise<Uint8Array> {
  const bytes = await readBytes(path);
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return await promisify(gunzip)(bytes, { maxOutputLength: mostBytes });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FrostbitError("BAD_DATA", `Cannot unpack "${path}": ${reason}. The gzip file is damaged or incomplete.`, {
      cause,
    });
  }
}
