// Decodes pictures with sharp: an optional peer that is loaded when it is used, and works on threads of its own.
import type Sharp from "sharp";
import type { DecodeImage } from "../data/image-dataset.ts";
import { resizedSize } from "../data/image-size.ts";
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
      const file = sharp(path, { ignoreIcc: true, failOn: "error" });
      const { width, height, hasAlpha } = await file.metadata();
      const [rows, columns] = resizedSize([height, width], resize);
      const picture = hasAlpha ? await withoutAlpha(sharp, file) : file;
      const { data, info } = await picture
        .toColourspace("srgb")
        .resize({ width: columns, height: rows, fit: "fill", kernel: "linear", fastShrinkOnLoad: false })
        .raw()
        .toBuffer({ resolveWithObject: true });
      return { data, size: [info.height, info.width] };
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message.replace(/\s+/g, " ").trim() : String(cause);
      throw new FrostbitError("BAD_DATA", `Cannot decode the image "${path}": ${reason}. Repair it or take it out.`, {
        cause,
      });
    }
  };
}
