// What a file holds, as a digest of its bytes.
import { createHash } from "node:crypto";
import type { ByteSource } from "../ir/tensor-source.ts";

/** A digest in hexadecimal digits, and how long the file is. */
export interface FileDigest {
  readonly sha256: string;
  readonly sizeBytes: number;
}

const digestedAtOnce = 16 * 1024 * 1024;

export function digestOfFile({ sizeBytes, read }: ByteSource): FileDigest {
  const hash = createHash("sha256");
  for (let done = 0; done < sizeBytes; done += digestedAtOnce)
    hash.update(read(done, Math.min(digestedAtOnce, sizeBytes - done)));
  return { sha256: hash.digest("hex"), sizeBytes };
}

export function digestOfBytes(bytes: Uint8Array | string): FileDigest {
  const data = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
  return { sha256: createHash("sha256").update(data).digest("hex"), sizeBytes: data.length };
}
