// Finds the pictures below a folder: a folder a class, or pictures alone, each perhaps in train/ and test/.
import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Dataset, Splits } from "../data/dataset.ts";
import { type ImageFile, imageDataset } from "../data/image-dataset.ts";
import { type ImageOptions, planImages } from "../data/image-size.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { FrostbitError } from "../ir/errors.ts";
import { loadImageDecoder } from "./decode-image.ts";
import { ioError } from "./storage.ts";

const picture = /\.(jpe?g|png|webp|tiff?|gif|avif)$/i;
/** Pictures that the decoder does not read. */
const otherPicture = /\.(bmp|dib|heic|heif|jp2|j2k|jxl|pbm|pgm|ppm|tga|ico|psd)$/i;
const extensions = ".jpg, .png, .webp, .tif, .gif or .avif";
/** The first that is there is tested with. */
const testFolders = ["test", "val", "valid", "validation"];

interface Listing {
  readonly folders: readonly string[];
  readonly pictures: readonly string[];
}

/** In the order of their code units, as other tools number classes. */
async function list(folder: string): Promise<Listing> {
  const entries: Dirent[] = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw ioError("read", folder, cause);
  });
  const isFolder = await Promise.all(entries.map((entry) => leadsToFolder(folder, entry)));
  const names = (keep: (entry: Dirent, isFolder: boolean) => boolean): string[] =>
    entries
      .filter((entry, i) => !entry.name.startsWith(".") && keep(entry, isFolder[i]))
      .map(({ name }) => name)
      .sort();
  const [other] = names(({ name }, is) => !is && otherPicture.test(name));
  if (other !== undefined)
    throw new FrostbitError(
      "BAD_DATA",
      `"${join(folder, other)}" is a picture of a format that is not read; expected ${extensions}. Convert it, or take it out.`,
    );
  return {
    folders: names((_, is) => is),
    pictures: names(({ name }, is) => !is && picture.test(name)),
  };
}

/** Links too, to wherever; what is called like a picture is taken for one. */
async function leadsToFolder(folder: string, entry: Dirent): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory() && !picture.test(entry.name);
  const target = await stat(join(folder, entry.name)).catch(() => undefined);
  return target?.isDirectory() === true && !picture.test(entry.name);
}

/** Paths of all pictures below a folder, however deep. */
async function picturesBelow(folder: string): Promise<readonly string[]> {
  const { folders, pictures } = await list(folder);
  const deeper = await Promise.all(folders.map((name) => picturesBelow(join(folder, name))));
  return [...pictures.map((name) => join(folder, name)), ...deeper.flat()];
}

interface Found {
  readonly files: readonly ImageFile[];
  readonly classes?: readonly string[];
}

async function findSamples(folder: string): Promise<Found> {
  const { folders, pictures } = await list(folder);
  if (folders.length === 0) return { files: pictures.map((name) => ({ path: join(folder, name) })) };
  if (pictures.length > 0)
    throw new FrostbitError(
      "BAD_DATA",
      `"${folder}" holds images ("${pictures[0]}", …) and folders ("${folders[0]}", …); expected a folder a class, or images alone, which have no labels. Move one of them.`,
    );
  const found = await Promise.all(folders.map((name) => picturesBelow(join(folder, name))));
  const empty = found.findIndex((paths) => paths.length === 0);
  if (empty >= 0)
    throw new FrostbitError(
      "BAD_DATA",
      `"${join(folder, folders[empty])}" is a class without images; expected ${extensions} files. Take the folder out, or fill it.`,
    );
  return {
    files: found.flatMap((paths, label) => paths.map((path) => ({ path, label }))),
    classes: folders,
  };
}

interface SplitFolders {
  readonly train?: string;
  readonly test?: string;
}

/** `undefined` where the folder is one data set: a class may well be called "train". */
function splitFolders({ folders }: Listing): SplitFolders | undefined {
  const test = testFolders.find((name) => folders.includes(name));
  const isSplit = (name: string): boolean => name === "train" || testFolders.includes(name);
  const train = folders.includes("train") ? "train" : undefined;
  if (folders.length === 0 || !((train && test) || folders.every(isSplit))) return undefined;
  return { ...(train && { train }), ...(test && { test }) };
}

/** Labels count through the classes of the training split, by which the model's outputs are numbered. */
function relabel(test: Found, classes: readonly string[] | undefined, folder: string): Found {
  if (!classes || !test.classes) return test;
  const unknown = test.classes.find((name) => !classes.includes(name));
  if (unknown !== undefined)
    throw new FrostbitError(
      "BAD_DATA",
      `"${folder}" has the class "${unknown}", which the training data lacks; it has ${classes.length}: ${classes.slice(0, 5).join(", ")}${classes.length > 5 ? ", …" : ""}.`,
    );
  const indices = test.classes.map((name) => classes.indexOf(name));
  return { classes, files: test.files.map(({ path, label }) => ({ path, label: indices[label ?? 0] })) };
}

/** In an order of their own, always the same, so that any first part is a sample of all classes. */
const mixed = (files: readonly ImageFile[]): readonly ImageFile[] =>
  Array.from(shuffledOrder(files.length, 0, 0), (index) => files[index]);

/** Throws BAD_DATA where there are no pictures, or the folders cannot be told to be classes or splits. */
export async function openImages(folder: string, options: ImageOptions): Promise<Splits> {
  const plan = planImages(options);
  const splits = splitFolders(await list(folder)) ?? { train: "" };
  const find = async (name: string | undefined): Promise<Found | undefined> =>
    name === undefined ? undefined : findSamples(join(folder, name));
  const train = await find(splits.train);
  const found = await find(splits.test);
  const test = found && relabel(found, train?.classes, join(folder, splits.test ?? ""));
  for (const [name, part] of [
    [splits.train, train],
    [splits.test, test],
  ] as const)
    if (part?.files.length === 0)
      throw new FrostbitError("BAD_DATA", `"${join(folder, name ?? "")}" has no images; expected ${extensions} files.`);
  const decode = await loadImageDecoder();
  const dataset = ({ files, classes }: Found, split: string): Dataset =>
    imageDataset(`images ${join(folder, split)}`, mixed(files), plan, decode, classes);
  const classes = train?.classes ?? test?.classes;
  return {
    ...(train && { train: dataset(train, splits.train ?? "") }),
    ...(test && { test: dataset(test, splits.test ?? "") }),
    ...(classes && { classes }),
  };
}
