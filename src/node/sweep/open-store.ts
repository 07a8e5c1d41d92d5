// The store that `--out` names.
import { isS3, openS3 } from "./s3-storage.ts";
import { bucketStore } from "./unit-bucket.ts";
import { folderStore } from "./unit-folder.ts";
import type { UnitStore } from "./unit-store.ts";

/** Of a folder or of s3://BUCKET/PREFIX. Throws BAD_OPTION for another form, ENGINE where a package is missing. */
export async function openStore(out: string): Promise<UnitStore> {
  if (!isS3(out)) return folderStore(out);
  return bucketStore(out.replace(/\/+$/, ""), await openS3(out));
}
