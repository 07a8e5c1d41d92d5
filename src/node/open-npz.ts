// NumPy's .npz files: a zip of arrays, which their names make inputs or labels of a split.
import type { Dataset, Splits } from "../data/dataset.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { readNpy } from "../data/npy.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Tensor } from "../ir/tensor.ts";
import { readZip } from "./read-zip.ts";
import { readBytes } from "./storage.ts";

/** "x_train", "train_images", or a name that belongs to no split. */
const affixes = /^(?:(train|val|test)_)?(.+?)(?:_(train|val|test))?$/;

const isLabels = (name: string): boolean => /^(y|labels?|targets?)$/i.test(name);

/** Arrays without a split are training samples; "val" is the test split where there is no "test". */
export async function openNpz(path: string): Promise<Splits> {
  const arrays = unpack(await readBytes(path), path);
  const splits = new Map<string, Map<string, Tensor>>();
  for (const [file, bytes] of arrays) {
    const [, before, name = file, after] = affixes.exec(file) ?? [];
    const split = before ?? after ?? "train";
    const group = splits.get(split) ?? new Map<string, Tensor>();
    if (group.has(name))
      throw new FrostbitError(
        "BAD_DATA",
        `npz ${path} has two arrays "${name}" of the split ${split}, one of them "${file}". Rename one, or take it out.`,
      );
    splits.set(split, group.set(name, readNpy(bytes, `${path}: ${file}.npy`)));
  }
  const open = (split: string): Dataset | undefined => {
    const group = splits.get(split);
    return group && datasetOf(`npz ${path} ${split}`, group);
  };
  const [train, test] = [open("train"), open("test") ?? open("val")];
  return { ...(train && { train }), ...(test && { test }) };
}

/** By name without ".npy". */
function unpack(zip: Uint8Array, path: string): ReadonlyMap<string, Uint8Array> {
  const files = readZip(zip, path, (name) => name.endsWith(".npy"));
  return new Map([...files].map(([name, bytes]) => [name.slice(0, -".npy".length), bytes]));
}

function datasetOf(name: string, arrays: ReadonlyMap<string, Tensor>): Dataset {
  const labels = [...arrays].filter(([array]) => isLabels(array));
  const inputs = [...arrays].filter(([array]) => !isLabels(array));
  if (labels.length <= 1 && inputs.length > 0) return memoryDataset(name, new Map(inputs), labels[0]?.[1]);
  throw new FrostbitError(
    "BAD_DATA",
    `${name} has the arrays ${[...arrays.keys()].join(", ")}; expected inputs, and at most one of labels: "y", "labels" or "targets".`,
  );
}
