import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zipSync } from "fflate";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Dataset } from "../data/dataset.ts";
import { writeNpy } from "../data/npy.ts";
import { tensorOf, toNumbers } from "../ir/tensor.ts";
import { openData } from "./open-data.ts";
import { openNpz } from "./open-npz.ts";

const oracles = join(import.meta.dirname, "../../test/oracles");
const first = (dataset: Dataset | undefined) => dataset?.read(Int32Array.of(1));

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-npz-"));
});
afterAll(() => rm(folder, { recursive: true }));

test("what numpy.savez writes is read, with its splits", async () => {
  const { train, test } = await openNpz(join(oracles, "arrays.npz"));
  expect([train?.length, test?.length]).toEqual([6, 2]);
  const samples = await first(test);
  expect(toNumbers(samples?.inputs.get("x") ?? tensorOf("int64", [], [0]))).toEqual([104, 105, 106, 107]);
  expect(samples?.labels).toEqual(tensorOf("int64", [1], [1]));
  expect((await openData(`npz:${join(oracles, "arrays.npz")}`)).heldOut).toBe(false);
});

test("what numpy.savez_compressed writes is read, several inputs under their names", async () => {
  const { train, test } = await openNpz(join(oracles, "arrays-compressed.npz"));
  expect(test).toBe(undefined);
  const samples = await first(train);
  expect([...(samples?.inputs ?? [])]).toEqual([
    ["ids", tensorOf("int64", [1, 4], [4, 5, 6, 7])],
    ["mask", tensorOf("bool", [1, 4], [1, 1, 1, 1])],
  ]);
});

test("other files, and archives that do not say what is a label, are refused", async () => {
  const path = (name: string): string => join(folder, name);
  const array = writeNpy(tensorOf("float32", [2], [1, 2]));
  await writeFile(path("text.npz"), "no zip at all");
  await writeFile(path("two.npz"), zipSync({ "x.npy": array, "y.npy": array, "labels.npy": array }));
  await writeFile(path("none.npz"), zipSync({ "y.npy": array, "readme.txt": array }));
  await writeFile(path("damaged.npz"), zipSync({ "x.npy": array.subarray(0, 20) }));
  await expect(openNpz(path("text.npz"))).rejects.toThrow(
    `Cannot unpack "${path("text.npz")}": no end of a zip archive in it.`,
  );
  await expect(openNpz(path("two.npz"))).rejects.toThrow(
    'has the arrays x, y, labels; expected inputs, and at most one of labels: "y"',
  );
  await expect(openNpz(path("none.npz"))).rejects.toThrow("has the arrays y; expected inputs");
  await expect(openNpz(path("damaged.npz"))).rejects.toThrow(`${path("damaged.npz")}: x.npy: the header claims`);
  await writeFile(path("twice.npz"), zipSync({ "x_train.npy": array, "train_x.npy": array }));
  await expect(openNpz(path("twice.npz"))).rejects.toThrow(
    'has two arrays "x" of the split train, one of them "train_x"',
  );
  await writeFile(path("empty.npz"), zipSync({}));
  await expect(openData(`npz:${path("empty.npz")}`)).rejects.toThrow("has no training samples");
});
