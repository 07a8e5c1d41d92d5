// How much a packed file may unpack to, so that a small file cannot fill memory.
import { FrostbitError } from "../ir/errors.ts";

/** No data file is larger unpacked: what is would not fit in memory either. */
const maxBytes = 2 ** 32;
/** So much is unpacked whatever it came from. */
const freeBytes = 2 ** 27;
/** Beyond that, of each packed byte. Deflate reaches 1,030, which only data made for it do. */
const maxRatio = 256;

/** Throws BAD_DATA where `packed` bytes, the first or all of `path`'s, give more than what is unpacked. */
export function checkUnpacked(path: string, packed: number, unpacked: number): void {
  if (unpacked <= freeBytes || (unpacked <= maxBytes && unpacked <= maxRatio * packed)) return;
  throw new FrostbitError(
    "BAD_DATA",
    `"${path}" unpacks ${packed} bytes to ${unpacked} or more; what is unpacked are ${freeBytes / 2 ** 20} MiB, or ${maxRatio} times the packed bytes up to ${maxBytes / 2 ** 30} GiB. If the data are meant, give them unpacked, or in parts.`,
  );
}
