// From decoded pictures of any size to samples of one: what is resized to what, the crop, and grey.
import { FrostbitError } from "../ir/errors.ts";
import { roundHalfToEven } from "../ir/round.ts";

/** Height and width in pixels. */
export type Size = readonly [height: number, width: number];

/** What becomes of a picture before it is a sample. */
export interface ImageOptions {
  /** The shorter side, the aspect ratio kept, or a size that the picture is stretched to; by default what `crop` just fits in. */
  readonly resize?: number | Size;
  /** What is cut from the middle; by default what `resize` gives, a square where it is one number. */
  readonly crop?: Size;
  /** 3: red, green, blue. 1: grey, ITU-R 601's luma as most training pipelines compute it. By default 3. */
  readonly channels?: 1 | 3;
}

/** Every choice made. */
export interface ImagePlan {
  /** The picture covers `size`, or is stretched to it. */
  readonly resize: { readonly size: Size; readonly fit: "cover" | "stretch" };
  readonly crop: Size;
  readonly channels: 1 | 3;
}

/** Pixels of interleaved bytes: [height, width, 3]. */
export interface Picture {
  readonly data: Uint8Array;
  readonly size: Size;
}

/** Throws BAD_OPTION where nothing says how large samples are, or the crop is larger than what it is cut from. */
export function planImages({ resize, crop, channels = 3 }: ImageOptions): ImagePlan {
  const cut = crop ?? (typeof resize === "number" ? ([resize, resize] as const) : resize);
  if (!cut)
    throw new FrostbitError(
      "BAD_OPTION",
      "Images have to become one size, and the model takes any. Give resize and crop: --resize 256 --crop 224, or --resize 240x320.",
    );
  const fit = typeof resize === "object" ? "stretch" : "cover";
  const size: Size = typeof resize === "number" ? [resize, resize] : (resize ?? cut);
  const tooLarge = fit === "stretch" ? cut[0] > size[0] || cut[1] > size[1] : Math.min(...cut) > Math.min(...size);
  if (tooLarge)
    throw new FrostbitError(
      "BAD_OPTION",
      `resize is ${printSize(size)}, smaller than the crop of ${printSize(cut)}. Choose a larger --resize, or a smaller --crop.`,
    );
  return { resize: { size, fit }, crop: cut, channels };
}

export const printSize = ([height, width]: Size): string => `${height}x${width}`;

/** What a picture becomes: where it covers, the other side is cut to whole pixels, as torchvision has it. */
export function resizedSize([height, width]: Size, { size: [rows, columns], fit }: ImagePlan["resize"]): Size {
  if (fit === "stretch") return [rows, columns];
  return rows * width >= columns * height
    ? [rows, Math.max(columns, Math.floor((rows * width) / height))]
    : [Math.max(rows, Math.floor((columns * height) / width)), columns];
}

/** As torchvision's, halves to the even pixel. */
const offset = (whole: number, part: number): number => roundHalfToEven((whole - part) / 2);

/** Cuts [height, width, channels] from the middle into `target`. The picture is at least as large. */
export function cropInto(
  target: Uint8Array,
  { data, size: [height, width] }: Picture,
  { crop, channels }: ImagePlan,
): void {
  const [rows, columns] = crop;
  const [top, left] = [offset(height, rows), offset(width, columns)];
  for (let row = 0; row < rows; row++) {
    const start = ((top + row) * width + left) * 3;
    const line = data.subarray(start, start + columns * 3);
    if (channels === 3) target.set(line, row * columns * 3);
    else greyInto(target.subarray(row * columns, (row + 1) * columns), line);
  }
}

/** ITU-R 601: 0.299 R + 0.587 G + 0.114 B, in 16 bits of fraction. */
function greyInto(target: Uint8Array, line: Uint8Array): void {
  for (let i = 0; i < target.length; i++)
    target[i] = (line[3 * i] * 19595 + line[3 * i + 1] * 38470 + line[3 * i + 2] * 7471 + 0x8000) >> 16;
}
