// Files as they are or compressed with gzip, told apart by their first bytes.
import { createGunzip } from "node:zlib";
import { FrostbitError } from "../ir/errors.ts";
import { readBytes } from "./storage.ts";
import { checkUnpacked } from "./unpack-bound.ts";

/** A file's bytes, unpacked if it is a gzip file, whatever it is called. */
export async function readUnpacked(path: string): Promise<Uint8Array> {
  const bytes = await readBytes(path);
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return await unpack(path, bytes);
  } catch (cause) {
    if (cause instanceof FrostbitError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FrostbitError("BAD_DATA", `Cannot unpack "${path}": ${reason}. The gzip file is damaged or incomplete.`, {
      cause,
    });
  }
}

async function unpack(path: string, packed: Uint8Array): Promise<Uint8Array> {
  const gunzip = createGunzip({ chunkSize: 2 ** 20 });
  gunzip.end(packed);
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of gunzip as AsyncIterable<Uint8Array>) {
    size += part.length;
    checkUnpacked(path, gunzip.bytesWritten, size);
    parts.push(part);
  }
  const whole = new Uint8Array(size);
  for (let at = 0; parts.length > 0; ) {
    const part = parts.shift()!;
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
