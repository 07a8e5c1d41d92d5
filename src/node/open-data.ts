// Opens what `--data` names: "cifar10:DIR", "npy:INPUTS,LABELS" or "module:./file.js".
import { access, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { cifar10Dataset } from "../data/cifar10.ts";
import type { Dataset, Source } from "../data/dataset.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { parseDatasetModule } from "../data/module-dataset.ts";
import { readNpy } from "../data/npy.ts";
import { holdOut } from "../data/split.ts";
import { FrostbitError } from "../ir/errors.ts";
import { ioError, readBytes } from "./storage.ts";

export interface OpenDataOptions {
  /** What to test with, named the same way, where the data has no test split or another is wanted. */
  readonly testData?: string;
  /** Decides which samples are held out where there is no test split. */
  readonly seed?: number;
}

interface Splits {
  readonly train?: Dataset;
  readonly test?: Dataset;
  readonly classes?: readonly string[];
}

const kinds: Readonly<Record<string, (where: string) => Promise<Splits>>> = {
  cifar10: openCifar10,
  npy: openNpy,
  module: openModule,
};

const expected = `expected "cifar10:DIR", "npy:INPUTS,LABELS" or "module:./file.js"`;

async function openSplits(text: string): Promise<Splits> {
  const colon = text.indexOf(":");
  const kind = text.slice(0, Math.max(0, colon));
  if (colon < 0 || !Object.hasOwn(kinds, kind) || colon === text.length - 1)
    throw new FrostbitError("BAD_OPTION", `data is "${text}"; ${expected}.`);
  return kinds[kind](text.slice(colon + 1));
}

/** Data to train with and to test with. Without a test split a seeded tenth is held out. */
export async function openData(text: string, options: OpenDataOptions = {}): Promise<Source> {
  const { train, test, classes } = await openSplits(text);
  if (!train) throw new FrostbitError("BAD_DATA", `"${text}" has no training samples.`);
  const named = classes && { classes };
  if (options.testData !== undefined)
    return { train, test: await openTestData(options.testData), heldOut: false, ...named };
  if (test) return { train, test, heldOut: false, ...named };
  return { ...holdOut(train, options.seed ?? 0), heldOut: true, ...named };
}

/** Data to test with: the test split where there is one, else all samples. */
export async function openTestData(text: string): Promise<Dataset> {
  const { train, test } = await openSplits(text);
  const dataset = test ?? train;
  if (!dataset) throw new FrostbitError("BAD_DATA", `"${text}" has no samples.`);
  return dataset;
}

async function openCifar10(folder: string): Promise<Splits> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw ioError("read", folder, cause);
  });
  const train = names.filter((name) => /^(train|data_batch)_\d+\.bin$/.test(name)).sort();
  const test = names.filter((name) => name === "test_batch.bin");
  if (train.length + test.length === 0) {
    throw new FrostbitError(
      "BAD_DATA",
      `"${folder}" has no CIFAR-10 batches; expected data_batch_1.bin to data_batch_5.bin (or train_1.bin …) and test_batch.bin, the binary version.`,
    );
  }
  return {
    ...(train.length > 0 && { train: await readCifar10(folder, train, "train") }),
    ...(test.length > 0 && { test: await readCifar10(folder, test, "test") }),
    ...(names.includes("batches.meta.txt") && { classes: await readClasses(join(folder, "batches.meta.txt")) }),
  };
}

async function readCifar10(folder: string, names: readonly string[], split: string): Promise<Dataset> {
  const files = new Map<string, Uint8Array>();
  for (const name of names) files.set(join(folder, name), await readBytes(join(folder, name)));
  return cifar10Dataset(`cifar10 ${split}`, files);
}

async function readClasses(path: string): Promise<readonly string[]> {
  const text = new TextDecoder().decode(await readBytes(path));
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

async function openNpy(where: string): Promise<Splits> {
  const paths = where.split(",");
  if (paths.length > 2)
    throw new FrostbitError(
      "BAD_OPTION",
      `data "npy:${where}" names ${paths.length} files; expected inputs, and labels if there are any.`,
    );
  const [inputs, labels] = await Promise.all(paths.map(async (path) => readNpy(await readBytes(path), path)));
  return { train: memoryDataset(`npy ${paths[0]}`, new Map([["input", inputs]]), labels) };
}

async function openModule(where: string): Promise<Splits> {
  const path = resolve(where);
  await access(path).catch((cause: unknown) => {
    throw ioError("read", where, cause);
  });
  const exported: unknown = await import(pathToFileURL(path).href).catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FrostbitError("BAD_DATA", `Cannot load data module "${where}": ${reason}`, { cause });
  });
  return parseDatasetModule(exported, where);
}
