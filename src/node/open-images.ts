// Finds the pictures below a folder: a folder a class, or pictures alone, each perhaps in train/ and test/.
import type { Dirent, Stats } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Dataset, Splits } from "../data/dataset.ts";
import { type ImageFile, imageDataset } from "../data/image-dataset.ts";
import { type ImageOptions, planImages } from "../data/image-size.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { FrostbitError } from "../ir/errors.ts";
import { loadImageDecoder } from "./decode-image.ts";
import { digestOfFiles } from "./digest-data.ts";
import { ioError } from "./storage.ts";

const picture = /\.(jpe?g|png|webp|tiff?|gif|avif)$/i;
/** Pictures that the decoder does not read. */
const otherPicture = /\.(bmp|dib|heic|heif|jp2|j2k|jxl|pbm|pgm|ppm|tga|ico|psd)$/i;
const extensions = ".jpg, .png, .webp, .tif, .gif or .avif";
/** The first that is there is tested with. */
const testFolders = ["test", "val", "valid", "validation"];

interface Listing {
  readonly folders: readonly string[];
  /** With where each leads. */
  readonly pictures: ReadonlyMap<string, string>;
}

type Kind = "file" | "folder" | "other" | "lost";

interface Named {
  readonly name: string;
  readonly kind: Kind;
  /** The path without links. */
  readonly real: string;
}

/** In the order of their code units, as other tools number classes. */
async function list(folder: string): Promise<Listing> {
  const entries: Dirent[] = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw ioError("read", folder, cause);
  });
  const here = await realpath(folder);
  const named = await Promise.all(
    entries.filter(({ name }) => !name.startsWith(".")).map((entry) => follow(here, entry)),
  );
  named.sort((a, b) => (a.name < b.name ? -1 : 1));
  const isPicture = ({ name }: Named): boolean => picture.test(name);
  const other = named.find(({ name, kind }) => kind !== "folder" && otherPicture.test(name));
  if (other !== undefined)
    throw new FrostbitError(
      "BAD_DATA",
      `"${join(folder, other.name)}" is a picture of a format that is not read; expected ${extensions}. Convert it, or take it out.`,
    );
  const notAFile = named.find((entry) => entry.kind === "other" && isPicture(entry));
  if (notAFile !== undefined)
    throw new FrostbitError(
      "BAD_DATA",
      `"${join(folder, notAFile.name)}" is named like an image and is not a file. Remove it.`,
    );
  return {
    folders: named.filter((entry) => entry.kind === "folder" && !isPicture(entry)).map(({ name }) => name),
    pictures: new Map(named.filter(isPicture).map(({ name, real }) => [name, real])),
  };
}

const kindOf = (entry: Pick<Stats, "isFile" | "isDirectory">): Kind =>
  entry.isDirectory() ? "folder" : entry.isFile() ? "file" : "other";

/** Links too, to wherever. */
async function follow(folder: string, entry: Dirent): Promise<Named> {
  const path = join(folder, entry.name);
  if (!entry.isSymbolicLink()) return { name: entry.name, kind: kindOf(entry), real: path };
  const [target, real] = await Promise.all([stat(path), realpath(path)]).catch(() => []);
  return { name: entry.name, kind: target ? kindOf(target) : "lost", real: real ?? path };
}

/** Which folders and pictures have been found, without links, and where: each belongs to one class. */
type Visited = Map<string, { readonly path: string; readonly label: number }>;

interface Walk {
  readonly visited: Visited;
  readonly label: number;
  /** The folders on the way here, without links. */
  readonly above: readonly string[];
}

/** Whether nothing led to `real` before. Throws where it belongs to another class. */
function isFirst({ visited, label }: Walk, real: string, path: string): boolean {
  const before = visited.get(real);
  if (before === undefined) visited.set(real, { path, label });
  else if (before.label !== label)
    throw new FrostbitError(
      "BAD_DATA",
      `"${path}" and "${before.path}" lead to the same place, "${real}", and belong to two classes. Take one of the links out.`,
    );
  return before === undefined;
}

/** Paths of all pictures below a folder, however deep; each once, however many links lead to it. */
async function picturesBelow(folder: string, walk: Walk): Promise<readonly string[]> {
  const real = await realpath(folder).catch((cause: unknown) => {
    throw ioError("read", folder, cause);
  });
  if (walk.above.includes(real))
    throw new FrostbitError(
      "BAD_DATA",
      `"${folder}" is a link to "${real}", which contains it: reading its images would never end. Remove the link.`,
    );
  if (!isFirst(walk, real, folder)) return [];
  const { folders, pictures } = await list(folder);
  const paths = [...pictures]
    .map(([name, target]) => ({ path: join(folder, name), target }))
    .filter(({ path, target }) => isFirst(walk, target, path))
    .map(({ path }) => path);
  for (const name of folders)
    for (const path of await picturesBelow(join(folder, name), { ...walk, above: [...walk.above, real] }))
      paths.push(path);
  return paths;
}

interface Found {
  readonly files: readonly ImageFile[];
  readonly classes?: readonly string[];
}

async function findSamples(folder: string): Promise<Found> {
  const { folders, pictures } = await list(folder);
  const visited: Visited = new Map();
  const above = [await realpath(folder)];
  if (folders.length === 0) {
    const walk = { visited, label: 0, above };
    const paths = [...pictures].map(([name, real]) => ({ path: join(folder, name), real }));
    return { files: paths.filter(({ path, real }) => isFirst(walk, real, path)).map(({ path }) => ({ path })) };
  }
  const [image] = pictures.keys();
  if (image !== undefined)
    throw new FrostbitError(
      "BAD_DATA",
      `"${folder}" holds images ("${image}", …) and folders ("${folders[0]}", …); expected a folder a class, or images alone, which have no labels. Move one of them.`,
    );
  const files: ImageFile[] = [];
  for (const [label, name] of folders.entries()) {
    const paths = await picturesBelow(join(folder, name), { visited, label, above });
    if (paths.length === 0)
      throw new FrostbitError(
        "BAD_DATA",
        `"${join(folder, name)}" is a class without images; expected ${extensions} files. Take the folder out, or fill it.`,
      );
    for (const path of paths) files.push({ path, label });
  }
  return { files, classes: folders };
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

/** In a fixed shuffled order, so that any first part is a sample of all classes. */
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
  const dataset = ({ files, classes }: Found, split: string): Dataset => {
    const order = mixed(files);
    return {
      ...imageDataset(`images ${join(folder, split)}`, order, plan, decode, classes),
      digest: () => digestOfFiles(order),
    };
  };
  const classes = train?.classes ?? test?.classes;
  return {
    ...(train && { train: dataset(train, splits.train ?? "") }),
    ...(test && { test: dataset(test, splits.test ?? "") }),
    ...(classes && { classes }),
  };
}
