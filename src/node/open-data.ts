// Opens what `--data` names: "images:DIR", "cifar10:DIR", "mnist:DIR", "npy:INPUTS,LABELS", "npz:FILE", "text:FILE.tsv" or "module:./file.js".
import { access, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { cifar10Dataset } from "../data/cifar10.ts";
import type { Dataset, Source, Splits } from "../data/dataset.ts";
import { readIdx } from "../data/idx.ts";
import type { ImageOptions } from "../data/image-size.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { parseDatasetModule } from "../data/module-dataset.ts";
import { readNpy } from "../data/npy.ts";
import { holdOut } from "../data/split.ts";
import { checkNames } from "../ir/check-options.ts";
import { closestName } from "../ir/closest-name.ts";
import { FrostbitError } from "../ir/errors.ts";
import { openImages } from "./open-images.ts";
import { openNpz } from "./open-npz.ts";
import { openSentences, type SentenceOptions } from "./open-sentences.ts";
import { readUnpacked } from "./read-unpacked.ts";
import { ioError, readBytes } from "./storage.ts";

/** How `openData` opens what is named. */
export interface OpenDataOptions {
  /** What to test with, named the same way, where the data has no test split or another is wanted. */
  readonly testData?: string;
  /** Decides which samples are held out where there is no test split; 0 where absent. */
  readonly seed?: number;
  /** What becomes of the pictures of "images:DIR". */
  readonly images?: ImageOptions;
  /** How sentences of "text:FILE" become tokens. */
  readonly sentences?: SentenceOptions;
}

const imageFields = Object.keys({ resize: true, crop: true, channels: true } satisfies Record<
  keyof ImageOptions,
  true
>);

const sentenceFields = Object.keys({ tokenizer: true, inputs: true, length: true } satisfies Record<
  keyof SentenceOptions,
  true
>);

interface Opening {
  readonly images: ImageOptions;
  readonly sentences: SentenceOptions;
}

const kinds: Readonly<Record<string, (where: string, opening: Opening) => Promise<Splits>>> = {
  images: (where, { images }) => openImages(where, images),
  text: (where, { sentences }) => openSentences(where, sentences),
  cifar10: openCifar10,
  mnist: openMnist,
  npy: openNpy,
  npz: openNpz,
  module: openModule,
};

/** What `--data` may be, for help and messages. */
export const dataKinds = `"images:DIR", "cifar10:DIR", "mnist:DIR", "npy:INPUTS,LABELS", "npz:FILE", "text:FILE.tsv" or "module:./file.js"`;

async function openSplits(text: string, options: Omit<OpenDataOptions, "testData" | "seed">): Promise<Splits> {
  const colon = text.indexOf(":");
  const kind = text.slice(0, Math.max(0, colon));
  if (colon < 0 || !Object.hasOwn(kinds, kind) || colon === text.length - 1) {
    const near = closestName(kind, Object.keys(kinds));
    const meant = near === undefined || near === kind ? "" : ` Did you mean "${near}${text.slice(colon)}"?`;
    const pictures = colon < 0 && text !== "" ? ` For a folder of pictures: "images:${text}".` : "";
    throw new FrostbitError("BAD_OPTION", `data is "${text}"; expected ${dataKinds}.${meant}${pictures}`);
  }
  const { images = {}, sentences = {} } = options;
  checkNames("openData: images", images, imageFields);
  checkNames("openData: sentences", sentences, sentenceFields);
  return kinds[kind](text.slice(colon + 1), { images, sentences });
}

/**
 * Data to train with and to test with. Without a test split a seeded tenth is held out.
 *
 * - "images:DIR": pictures, decoded as they are needed with [sharp](https://sharp.pixelplumbing.com). A folder a class,
 *   numbered in the order of their names, or pictures alone, without labels; both perhaps within train/ and test/ or val/.
 * - "cifar10:DIR": the binary version. "mnist:DIR": idx files, also of the sets made after MNIST.
 * - "npy:INPUTS,LABELS": labels are class indices, or floats that the model's output should be.
 * - "npz:FILE": arrays by name. "x_train", "test_images" and the like belong to a split; "y", "labels" and "targets" are
 *   labels, all others inputs, under the names that the model's inputs have if there are several.
 * - "text:FILE.tsv": a label, a tab and a sentence a line, in tokens of `sentences.tokenizer`.
 * - "module:./file.js": what a module exports as `train`, and perhaps `test` and `classes`.
 *
 * Files of "cifar10", "mnist" and "npy" may be compressed with gzip. Throws BAD_OPTION for a name of none of these forms, IO
 * where files are missing, BAD_DATA where they hold something else.
 */
export async function openData(text: string, options: OpenDataOptions = {}): Promise<Source> {
  checkNames("openData", options, ["testData", "seed", "images", "sentences"]);
  const { train, test, classes } = await openSplits(text, options);
  if (!train) throw new FrostbitError("BAD_DATA", `"${text}" has no training samples.`);
  const named = classes && { classes };
  if (options.testData !== undefined) {
    const other = await openTestData(options.testData, options);
    checkClasses(text, train, options.testData, other);
    return { train, test: other, heldOut: false, ...named };
  }
  if (test) return { train, test, heldOut: false, ...named };
  return { ...holdOut(train, options.seed ?? 0), heldOut: true, ...named };
}

/** Labels are positions in the list of classes: two lists that differ would number them differently. */
function checkClasses(text: string, { classes }: Dataset, testText: string, test: Dataset): void {
  if (!classes || !test.classes || classes.join("\n") === test.classes.join("\n")) return;
  const print = (names: readonly string[]): string => `${names.slice(0, 5).join(", ")}${names.length > 5 ? ", …" : ""}`;
  throw new FrostbitError(
    "BAD_DATA",
    `"${testText}" has the ${test.classes.length} classes ${print(test.classes)}; "${text}" has ${classes.length}: ${print(classes)}. Give both the same folders, or put them side by side as train/ and test/.`,
  );
}

/** Data to test with, named as for `openData`: the test split where there is one, else all samples. */
export async function openTestData(
  text: string,
  options: Pick<OpenDataOptions, "images" | "sentences"> = {},
): Promise<Dataset> {
  checkNames("openTestData", options, ["testData", "seed", "images", "sentences"]);
  const { train, test } = await openSplits(text, options);
  const dataset = test ?? train;
  if (!dataset) throw new FrostbitError("BAD_DATA", `"${text}" has no samples.`);
  return dataset;
}

/** Sorted. A file that is there both packed and unpacked counts once. */
async function namesIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw ioError("read", folder, cause);
  });
  return names.filter((name) => !(name.endsWith(".gz") && names.includes(name.slice(0, -3)))).sort();
}

async function openCifar10(folder: string): Promise<Splits> {
  const names = await namesIn(folder);
  const train = names.filter((name) => /^(train|data_batch)_\d+\.bin(\.gz)?$/.test(name));
  const test = names.filter((name) => /^test_batch\.bin(\.gz)?$/.test(name));
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
  for (const name of names) files.set(join(folder, name), await readUnpacked(join(folder, name)));
  return cifar10Dataset(`cifar10 ${split}`, files);
}

async function readClasses(path: string): Promise<readonly string[]> {
  const text = new TextDecoder().decode(await readBytes(path));
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

/** As MNIST's files are called, also with a dot before "idx". */
async function openMnist(folder: string): Promise<Splits> {
  const names = await namesIn(folder);
  const open = async (prefix: string, split: string): Promise<Dataset | undefined> => {
    const find = (what: string): string | undefined =>
      names.find((name) => new RegExp(`^${prefix}-${what}[-.]idx\\d-ubyte(\\.gz)?$`).test(name));
    const [images, labels] = [find("images"), find("labels")];
    if (images === undefined) return undefined;
    if (labels === undefined)
      throw new FrostbitError("BAD_DATA", `"${folder}" has ${images}, but no labels beside it.`);
    return readMnist(`mnist ${split}`, join(folder, images), join(folder, labels));
  };
  const [train, test] = [await open("train", "train"), await open("t10k", "test")];
  if (!train && !test)
    throw new FrostbitError(
      "BAD_DATA",
      `"${folder}" has no MNIST files; expected train-images-idx3-ubyte, train-labels-idx1-ubyte and the same with t10k, perhaps with .gz.`,
    );
  return { ...(train && { train }), ...(test && { test }) };
}

async function readMnist(name: string, imagesPath: string, labelsPath: string): Promise<Dataset> {
  const [images, labels] = await Promise.all(
    [imagesPath, labelsPath].map(async (path) => readIdx(await readUnpacked(path), path)),
  );
  if (images.shape.length !== 3)
    throw new FrostbitError(
      "BAD_DATA",
      `${imagesPath} is [${images.shape.join(", ")}]; expected [images, height, width].`,
    );
  const [count, height, width] = images.shape;
  return memoryDataset(name, new Map([["image", { ...images, shape: [count, 1, height, width] }]]), labels);
}

async function openNpy(where: string): Promise<Splits> {
  const paths = where.split(",");
  if (paths.length > 2)
    throw new FrostbitError(
      "BAD_OPTION",
      `data "npy:${where}" names ${paths.length} files; expected inputs, and labels if there are any.`,
    );
  const [inputs, labels] = await Promise.all(paths.map(async (path) => readNpy(await readUnpacked(path), path)));
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
