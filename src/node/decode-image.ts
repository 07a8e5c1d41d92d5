// Decodes pictures with sharp: an optional peer that is loaded when it is used, and works on its own threads.
import type Sharp from "sharp";
import type { DecodeImage } from "../data/image-dataset.ts";
import { printSize, resizedSize, type Size } from "../data/image-size.ts";
import { FrostbitError } from "../ir/errors.ts";

let loaded: Promise<typeof Sharp> | undefined;

async function importSharp(): Promise<typeof Sharp> {
  try {
    return (await import("sharp")).default;
  } catch (cause) {
    const [reason] = (cause instanceof Error ? cause.message : String(cause)).split("\n");
    throw new FrostbitError(
      "ENGINE",
      `Images are read with sharp, which cannot be loaded (${reason}). Install it: npm install sharp.`,
      {
        cause,
      },
    );
  }
}

/** Of one picture, as its file has it and once resized: 8192 × 8192, decoded 192 MiB. */
const maxPixels = 2 ** 26;
/** Of one side in a file; JPEG has no more. */
const maxSide = 65535;

/** By what its header says, before anything is decoded: a few bytes can stand for gigabytes. */
function checkSize(path: string, [height, width]: Size, [rows, columns]: Size): void {
  const tooLarge = height > maxSide || width > maxSide || height * width > maxPixels;
  if (!tooLarge && rows * columns <= maxPixels) return;
  const becomes = tooLarge ? "" : `, and would be resized to ${printSize([rows, columns])}`;
  throw new FrostbitError(
    "BAD_DATA",
    `"${path}" is ${printSize([height, width])}${becomes}; pictures of ${maxSide} pixels a side and ${maxPixels} in all are read at most. Make it smaller, or take it out.`,
  );
}

/** Dropped before resizing, which would take colours by how opaque they are. */
async function withoutAlpha(sharp: typeof Sharp, file: ReturnType<typeof Sharp>): Promise<ReturnType<typeof Sharp>> {
  const { data, info } = await file.toColourspace("srgb").removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });
}

/**
 * Resized as torchvision does: bilinear, averaging over what shrinks. As there, neither colour profiles nor the
 * orientation in the metadata are applied.
 */
export async function loadImageDecoder(): Promise<DecodeImage> {
  loaded ??= importSharp();
  const sharp = await loaded;
  return async (path, resize) => {
    try {
      const file = sharp(path, { ignoreIcc: true, failOn: "error", limitInputPixels: false });
      const { width, height, hasAlpha } = await file.metadata();
      const [rows, columns] = resizedSize([height, width], resize);
      checkSize(path, [height, width], [rows, columns]);
      const picture = hasAlpha ? await withoutAlpha(sharp, file) : file;
      const { data, info } = await picture
        .toColourspace("srgb")
        .resize({ width: columns, height: rows, fit: "fill", kernel: "linear", fastShrinkOnLoad: false })
        .raw()
        .toBuffer({ resolveWithObject: true });
      return { data, size: [info.height, info.width] };
    } catch (cause) {
      if (cause instanceof FrostbitError) throw cause;
      const reason = cause instanceof Error ? cause.message.replace(/\s+/g, " ").trim() : String(cause);
      throw new FrostbitError("BAD_DATA", `Cannot decode the image "${path}": ${reason}. Repair it or take it out.`, {
        cause,
      });
    }
  };
}
