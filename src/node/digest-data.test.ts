import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { isNativeBuilt } from "../../test/support/native.ts";
import { type Dataset, limit } from "../data/dataset.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { parseDatasetModule } from "../data/module-dataset.ts";
import { holdOut } from "../data/split.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { tensorOf } from "../ir/tensor.ts";
import { digestOf, digestOfFiles, digestOfSource, machineFields } from "./digest-data.ts";

const data = (changed?: number, label?: number): Dataset => {
  const x = Array.from({ length: 2000 }, (_, i) => (i === changed ? -1 : i % 7));
  const labels = Array.from({ length: 1000 }, (_, i) => (i === label ? 9 : i % 3));
  return memoryDataset("d", new Map([["x", tensorOf("float32", [1000, 2], x)]]), tensorOf("int64", [1000], labels));
};

describe("a digest of data", () => {
  test("differs where any value of any sample, or any label, does", async () => {
    const before = await digestOf(data());
    expect(await digestOf(data())).toBe(before);
    for (const at of [0, 1, 511, 512, 1023, 1999]) expect(await digestOf(data(at)), `${at}`).not.toBe(before);
    for (const at of [0, 255, 256, 999]) expect(await digestOf(data(undefined, at)), `${at}`).not.toBe(before);
    expect(await digestOf(holdOut(data(), 0).train)).not.toBe(await digestOf(holdOut(data(1), 0).train));
  });

  test("of a source is of the samples that a run may read", async () => {
    const sourceOf = (dataset: Dataset) => ({ train: dataset, test: dataset });
    const before = await digestOfSource(sourceOf(data()), 10);
    expect(await digestOfSource(sourceOf(data(20)), 10)).toEqual(before);
    expect(await digestOfSource(sourceOf(data(19)), 10)).not.toEqual(before);
    expect(await digestOfSource(sourceOf(data()))).toEqual(await digestOfSource(sourceOf(data()), 1000));
  });

  test("is a dataset's own where it has one, also of its parts", async () => {
    const own: Dataset = { ...data(), digest: async () => "version 1" };
    expect(await digestOf(limit(own, 10))).toBe("version 1");
    const { train } = parseDatasetModule({ train: { ...data(), digest: () => "of the module" } }, "data.mjs");
    expect(await digestOf(train)).toBe("of the module");
  });

  test("of files is of their contents, order and labels", async () => {
    const folder = await mkdtemp(join(tmpdir(), "frostbit-digest-"));
    const paths = [join(folder, "a"), join(folder, "b")];
    for (const path of paths) await writeFile(path, path);
    const files = paths.map((path, label) => ({ path, label }));
    const before = await digestOfFiles(files);
    expect(await digestOfFiles(files)).toBe(before);
    expect(await digestOfFiles([files[1], files[0]])).not.toBe(before);
    expect(await digestOfFiles([files[0], { ...files[1], label: 2 }])).not.toBe(before);
    await writeFile(paths[1], "another");
    expect(await digestOfFiles(files)).not.toBe(before);
    await rm(folder, { recursive: true });
    await expect(digestOfFiles(files)).rejects.toThrow(/Cannot read ".*a": no such file/);
  });
});

describe("what of a machine a result depends on", () => {
  const reference = createReferenceEngine();
  const native = { ...reference, name: "native" as const };
  afterEach(() => {
    delete process.env["FROSTBIT_MAX_CPU_ISA"];
  });

  test("is the number of threads, also where it is the machine's", () => {
    expect(machineFields({ engine: reference, threads: 3, tune: "off" })["threads"]).toBe("3");
    expect(Number(machineFields({ engine: reference, threads: undefined, tune: "off" })["threads"])).toBeGreaterThan(0);
  });

  test.skipIf(!isNativeBuilt)("is the native engine's oneDNN, kernels and limits", () => {
    const before = machineFields({ engine: native, threads: 1, tune: "off" });
    expect(before["oneDNN"]).toMatch(/^\d+\.\d+/);
    process.env["FROSTBIT_MAX_CPU_ISA"] = "avx2";
    expect(machineFields({ engine: native, threads: 1, tune: "off" })["FROSTBIT_MAX_CPU_ISA"]).toBe("avx2");
    expect(before["FROSTBIT_MAX_CPU_ISA"]).toBeUndefined();
  });
});
