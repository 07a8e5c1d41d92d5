// A dataset of picture files, decoded when they are asked for.
import { FrostbitError } from "../ir/errors.ts";
import type { Dataset } from "./dataset.ts";
import { cropInto, type ImagePlan, type Picture, printSize } from "./image-size.ts";

export interface ImageFile {
  readonly path: string;
  /** Absent in all files or in none. */
  readonly label?: number;
}

/** Decodes a file and resizes it as the plan says, off the main thread. */
export type DecodeImage = (path: string, resize: ImagePlan["resize"]) => Promise<Picture>;

/** Decoded samples that are kept; the others are decoded again each time. */
const keptBytes = 2 ** 28;

/** Samples of shape [height, width, channels], in the order of `files`. Holds 256 MiB of decoded samples at most, and those being read. */
export function imageDataset(
  name: string,
  files: readonly ImageFile[],
  plan: ImagePlan,
  decode: DecodeImage,
  classes?: readonly string[],
): Dataset {
  const shape = [...plan.crop, plan.channels];
  const size = plan.crop[0] * plan.crop[1] * plan.channels;
  const kept = new Map<number, Uint8Array>();
  const read = async (index: number, target: Uint8Array): Promise<void> => {
    const known = kept.get(index);
    if (known) return target.set(known);
    const { path } = files[index];
    const picture = await decode(path, plan.resize);
    checkFits(path, picture, plan);
    cropInto(target, picture, plan);
    if ((kept.size + 1) * size <= keptBytes) kept.set(index, target.slice());
  };
  const hasLabels = files.every(({ label }) => label !== undefined);
  return {
    name: `${name} at ${printSize(plan.crop)}, ${plan.resize.fit} ${printSize(plan.resize.size)}`,
    length: files.length,
    inputs: new Map([["image", { dtype: "uint8", shape, layout: "nhwc" }]]),
    hasLabels,
    ...(classes && { classes }),
    read: async (indices) => {
      const data = new Uint8Array(indices.length * size);
      await Promise.all(Array.from(indices, (index, row) => read(index, data.subarray(row * size, (row + 1) * size))));
      const labels = BigInt64Array.from(indices, (index) => BigInt(files[index].label ?? -1));
      return {
        inputs: new Map([["image", { dtype: "uint8", shape: [indices.length, ...shape], data }]]),
        ...(hasLabels && { labels: { dtype: "int64", shape: [indices.length], data: labels } }),
      };
    },
  };
}

function checkFits(path: string, { size }: Picture, { crop }: ImagePlan): void {
  if (crop[0] <= size[0] && crop[1] <= size[1]) return;
  throw new FrostbitError(
    "BAD_OPTION",
    `"${path}" is ${printSize(size)} once resized, smaller than the crop of ${printSize(crop)}. Choose a larger --resize, or a smaller --crop.`,
  );
}
