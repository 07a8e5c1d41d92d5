import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { memoryStorage, type Storage } from "../data/storage.ts";
import { ensureWritable, folderStorage, readBytes, writeAtomic } from "./storage.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-storage-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe.each([
  ["memory", () => memoryStorage()],
  ["folder", () => folderStorage(join(folder, "checkpoints"))],
] as const)("%s storage", (_, make) => {
  test("reads, lists, replaces and removes what was written", async () => {
    const storage: Storage = make();
    expect(await storage.list()).toEqual([]);
    expect(await storage.read("a")).toBeUndefined();
    await storage.write("b", Uint8Array.of(1));
    await storage.write("a", Uint8Array.of(2));
    await storage.write("a", Uint8Array.of(3, 4));
    expect(await storage.list()).toEqual(["a", "b"]);
    expect([...(await storage.read("a"))!]).toEqual([3, 4]);
    await storage.remove("a");
    await storage.remove("a");
    expect(await storage.list()).toEqual(["b"]);
  });
});

test("an address is refused, and no folder of its name is made", async () => {
  for (const address of ["s3://bucket/run", "gs://bucket", "https://host/run"])
    await expect(ensureWritable(address)).rejects.toThrow(
      `"${address}" is an address; expected a folder. The runs of a sweep alone can be kept in a bucket of S3: frostbit sweep RECIPE --out s3://BUCKET/PREFIX.`,
    );
  for (const scheme of ["s3:", "gs:", "https:"]) expect(await readdir(".")).not.toContain(scheme);
});

describe("writeAtomic", () => {
  test("leaves no temporary file behind, whether it succeeds or fails", async () => {
    const place = join(folder, "place");
    await mkdir(join(place, "taken"), { recursive: true });
    await writeAtomic(join(place, "file"), "content");
    await expect(writeAtomic(join(place, "taken"), "content")).rejects.toThrow(
      `Cannot write "${join(place, "taken")}": it is a folder; expected a file.`,
    );
    expect((await readdir(place)).sort()).toEqual(["file", "taken"]);
  });

  test("says what is wrong with the path", async () => {
    await expect(writeAtomic(join(folder, "no", "file"), "x")).rejects.toThrow("no such file or folder.");
    await writeFile(join(folder, "plain"), "");
    await expect(writeAtomic(join(folder, "plain", "file"), "x")).rejects.toThrow(
      "it, or a part of its path, is a file; expected a folder.",
    );
    await expect(readBytes("/dev/zero")).rejects.toThrow("it is a device, which may have no end; expected a file.");
    await expect(writeAtomic("/dev/full/x", "x")).rejects.toMatchObject({ code: "IO" });
  });

  test("what a killed writer left is removed with the next write", async () => {
    const place = join(folder, "left");
    await mkdir(place);
    await writeFile(join(place, ".state.999999999.tmp"), "half");
    const storage = folderStorage(place);
    expect(await storage.list()).toEqual([]);
    await storage.write("state", Uint8Array.of(1));
    expect(await readdir(place)).toEqual(["state"]);
  });

  test("what a killed writer left in an output folder is removed before the next run, what others write is not", async () => {
    const place = join(folder, "output");
    await mkdir(place);
    await mkdir(join(place, "onnx"));
    const others = `.report.json.${process.ppid}.tmp`;
    const left = [".report.json.999999999.tmp", "onnx/.model_q4.onnx.999999999.tmp"];
    const kept = [others, "model.onnx", "onnx/model_q8.onnx"];
    for (const name of [...left, ...kept]) await writeFile(join(place, name), "half");
    await ensureWritable(place);
    const files = await readdir(place, { recursive: true });
    expect(files.filter((name) => name !== "onnx").toSorted()).toEqual(kept.toSorted());
  });

  test("an output folder may have a file where others have a folder of models", async () => {
    const place = join(folder, "file-onnx");
    await mkdir(place);
    await writeFile(join(place, "onnx"), "");
    await ensureWritable(place);
    expect(await readdir(place)).toEqual(["onnx"]);
  });

  test("names that leave the folder are refused", async () => {
    const storage = folderStorage(folder);
    for (const name of ["", "..", "a/b", "../x", ".hidden"]) {
      await expect(storage.write(name, new Uint8Array())).rejects.toThrow("expected a plain file name");
    }
  });
});
