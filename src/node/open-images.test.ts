import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { deflateSync, gzipSync } from "node:zlib";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Dataset, Samples } from "../data/dataset.ts";
import { resizedSize } from "../data/image-size.ts";
import { naturalOrder } from "../data/sampler.ts";
import { toNumbers } from "../ir/tensor.ts";
import { openData, openTestData } from "./open-data.ts";

let folder = "";

type Colour = readonly [number, number, number];

async function draw(path: string, pixels: readonly Colour[], width: number, height: number): Promise<void> {
  await mkdir(join(folder, dirname(path)), { recursive: true });
  const data = Array.from({ length: width * height }, (_, i) => pixels[i % pixels.length]).flat();
  await sharp(Uint8Array.from(data), { raw: { width, height, channels: 3 } })
    .png()
    .toFile(join(folder, path));
}

const plain = (path: string, colour: Colour, width = 8, height = 8): Promise<void> =>
  draw(path, [colour], width, height);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-images-"));
  for (let i = 0; i < 6; i++) {
    await plain(`set/train/cat/deep/${i}.png`, [200 + i, 0, 0]);
    await plain(`set/train/dog/${i}.PNG`, [0, 100 + i, 0]);
  }
  await plain("set/val/dog/0.png", [0, 77, 0]);
  await writeFile(join(folder, "set/train/cat/notes.txt"), "no picture");
  await plain("loose/a.png", [10, 20, 30]);
  await plain("loose/b.png", [40, 50, 60]);
  await draw(
    "size/wide.png",
    Array.from({ length: 32 }, (_, i): Colour => [i % 8, Math.floor(i / 8), 0]),
    8,
    4,
  );
});
afterAll(() => rm(folder, { recursive: true }));

/** A grey PNG's header and no pixels. */
function pngOf(width: number, height: number): Uint8Array {
  const chunk = (type: string, data: Buffer): Buffer => {
    const body = Buffer.concat([Buffer.from(type), data]);
    // A gzip file ends with the checksum that a chunk has.
    const sum = Buffer.from(gzipSync(body).subarray(-8, -4)).reverse();
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8;
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync("")),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

const at = (path: string): string => `images:${join(folder, path)}`;
const all = async (dataset: Dataset): Promise<Samples> => dataset.read(naturalOrder(dataset.length));
const pixelsOf = ({ inputs }: Samples): number[] => {
  const image = inputs.get("image");
  if (!image) throw new Error("no image");
  return toNumbers(image);
};

describe("images:DIR", () => {
  test("a folder a class, in train and val, labels in the order of the names", async () => {
    const source = await openData(at("set"), { images: { crop: [4, 4] } });
    expect([source.train.length, source.test.length, source.heldOut]).toEqual([12, 1, false]);
    expect(source.classes).toEqual(["cat", "dog"]);
    const samples = await all(source.train);
    expect(samples.inputs.get("image")?.shape).toEqual([12, 4, 4, 3]);
    const labels = toNumbers(samples.labels ?? { dtype: "int64", shape: [0], data: new BigInt64Array() });
    const pixels = pixelsOf(samples);
    for (const [row, label] of labels.entries()) {
      const [red, green] = pixels.slice(row * 48, row * 48 + 2);
      expect(label).toBe(red >= 200 ? 0 : 1);
      expect(label === 0 ? red : green).toBeGreaterThanOrEqual(label === 0 ? 200 : 100);
    }
    expect(labels.slice(0, 6)).not.toEqual([0, 0, 0, 0, 0, 0]);
    const test = await all(source.test);
    expect([pixelsOf(test)[1], Number(test.labels?.data[0])]).toEqual([77, 1]);
  });

  test("the order is the same each time, and reading some is reading those", async () => {
    const [a, b] = [await openTestData(at("set/train"), square(2)), await openTestData(at("set/train"), square(2))];
    const whole = pixelsOf(await all(a));
    expect(pixelsOf(await all(b))).toEqual(whole);
    expect(pixelsOf(await b.read(Int32Array.of(7, 2)))).toEqual([...whole.slice(84, 96), ...whole.slice(24, 36)]);
  });

  test("images alone have no labels", async () => {
    const dataset = await openTestData(at("loose"), square(1));
    expect(dataset.hasLabels).toBe(false);
    expect(new Set(pixelsOf(await all(dataset)))).toEqual(new Set([10, 20, 30, 40, 50, 60]));
  });

  test("without a test split a tenth is held out", async () => {
    const source = await openData(at("set/train"), square(2));
    expect([source.train.length, source.test.length, source.heldOut]).toEqual([11, 1, true]);
  });

  test("the crop is cut from the middle, grey is ITU-R 601's luma", async () => {
    const colours = await openTestData(at("size"), { images: { resize: 4, crop: [2, 4] } });
    expect(pixelsOf(await all(colours)).filter((_, i) => i % 3 === 0)).toEqual([2, 3, 4, 5, 2, 3, 4, 5]);
    expect(pixelsOf(await all(colours)).filter((_, i) => i % 3 === 1)).toEqual([1, 1, 1, 1, 2, 2, 2, 2]);
    const grey = await openTestData(at("loose"), { images: { crop: [1, 1], channels: 1 } });
    const luma = (r: number, g: number, b: number): number => Math.round(0.299 * r + 0.587 * g + 0.114 * b);
    expect(pixelsOf(await all(grey)).sort()).toEqual([luma(10, 20, 30), luma(40, 50, 60)]);
  });

  test("what a crop leaves over an odd number of pixels is torchvision's: halves go to the even pixel", async () => {
    const reds = async (columns: number): Promise<number[]> =>
      pixelsOf(await all(await openTestData(at("size"), { images: { resize: [4, 8], crop: [4, columns] } })))
        .filter((_, i) => i % 3 === 0)
        .slice(0, columns);
    // (8 − 7) / 2 = 0.5 → 0, (8 − 5) / 2 = 1.5 → 2, (8 − 3) / 2 = 2.5 → 2
    expect([await reds(7), await reds(5), await reds(3)]).toEqual([
      [0, 1, 2, 3, 4, 5, 6],
      [2, 3, 4, 5, 6],
      [2, 3, 4],
    ]);
  });

  test("a picture that is to cover a size is cut to whole pixels, as torchvision has it", () => {
    const cover = (size: readonly [number, number], from: readonly [number, number]) =>
      resizedSize(from, { size, fit: "cover" });
    // int(256 · 640 / 427) = int(383.7)
    expect(cover([256, 256], [427, 640])).toEqual([256, 383]);
    expect(cover([256, 256], [640, 427])).toEqual([383, 256]);
    expect(cover([100, 200], [300, 300])).toEqual([200, 200]);
    expect(cover([224, 224], [224, 224])).toEqual([224, 224]);
    expect(resizedSize([300, 400], { size: [10, 20], fit: "stretch" })).toEqual([10, 20]);
  });

  test("links to folders are classes, other links are nothing", async () => {
    await plain("linked/real/cat/0.png", [1, 2, 3], 2, 2);
    await plain("linked/set/dog/0.png", [4, 5, 6], 2, 2);
    await symlink("../real/cat", join(folder, "linked/set/cat"));
    await symlink("nowhere", join(folder, "linked/set/broken"));
    await writeFile(join(folder, "linked/real/labels.txt"), "cat");
    await symlink("../real/labels.txt", join(folder, "linked/set/labels.txt"));
    const dataset = await openTestData(at("linked/set"), square(1));
    expect([dataset.classes, dataset.length]).toEqual([["cat", "dog"], 2]);
  });

  test("pictures that several links lead to count once, in one class or alone", async () => {
    for (let i = 0; i < 6; i++) await plain(`again/set/cat/deep/${i}.png`, [i, 2, 3], 2, 2);
    await plain("again/set/dog/0.png", [9, 9, 9], 2, 2);
    await symlink("deep", join(folder, "again/set/cat/also"));
    await symlink("deep/0.png", join(folder, "again/set/cat/first.png"));
    for (const [from, to] of ["one", "two", "three"].entries())
      for (let i = 0; i < 4; i++) {
        await mkdir(join(folder, "again/set/cat/deep", to), { recursive: true });
        const into = from === 0 ? "." : ["one", "two", "three"][from - 1];
        await symlink(join(folder, "again/set/cat/deep", to), join(folder, "again/set/cat/deep", into, `link${i}`));
      }
    const dataset = await openTestData(at("again/set"), square(1));
    expect([dataset.classes, dataset.length]).toEqual([["cat", "dog"], 7]);
    await plain("alone/0.png", [1, 1, 1], 2, 2);
    await symlink("0.png", join(folder, "alone/1.png"));
    expect((await openTestData(at("alone"), square(1))).length).toBe(1);
  });

  test("links to a folder that contains them, or into another class, are refused by name", async () => {
    await plain("loop/set/cat/0.png", [1, 2, 3], 2, 2);
    await plain("loop/set/dog/0.png", [4, 5, 6], 2, 2);
    const link = join(folder, "loop/set/cat/deeper");
    for (const target of [".", "..", "../../set", "../cat/../cat"]) {
      await symlink(target, link);
      await expect(openTestData(at("loop/set"), square(1))).rejects.toThrow(
        /deeper" is a link to ".*", which contains it: reading its images would never end\. Remove the link\.$/,
      );
      await rm(link);
    }
    await symlink("../dog", link);
    await symlink("../cat", join(folder, "loop/set/dog/back"));
    await expect(openTestData(at("loop/set"), square(1))).rejects.toThrow(
      /"[^"]*back" is a link to "[^"]*cat", which contains it/,
    );
    await rm(join(folder, "loop/set/dog/back"));
    await expect(openTestData(at("loop/set"), square(1))).rejects.toThrow(
      /dog" and "[^"]*deeper" lead to the same place, "[^"]*", and belong to two classes\./,
    );
    await rm(link);
    await symlink(".", join(folder, "loop/set/all"));
    await expect(openTestData(at("loop/set"), square(1))).rejects.toThrow(
      /all" is a link to ".*set", which contains it/,
    );
  });

  test("what is called like a picture and is a device or a pipe is refused", async () => {
    await plain("device/0.png", [1, 2, 3], 2, 2);
    await symlink("/dev/zero", join(folder, "device/1.png"));
    await expect(openTestData(at("device"), square(1))).rejects.toThrow(
      /1\.png" is named like an image and is not a file\. Remove it\./,
    );
  });

  test.each([
    [200_000, 1, /is 1x200000; pictures of 65535 pixels a side and 67108864 in all are read at most/],
    [1, 200_000, /is 200000x1; pictures of 65535 pixels a side/],
    [60_000, 60_000, /is 60000x60000; pictures of/],
    [2 ** 31 - 1, 2 ** 31 - 1, /Cannot decode the image|pictures of 65535/],
    [65_000, 1, /is 1x65000, and would be resized to 64x4160000; pictures of/],
  ])("a picture whose header says %i × %i is refused before it is decoded", async (width, height, message) => {
    const path = join(folder, `large-${width}-${height}`, "0.png");
    await mkdir(dirname(path));
    await writeFile(path, pngOf(width, height));
    const dataset = await openTestData(`images:${dirname(path)}`, square(64));
    const started = performance.now();
    await expect(all(dataset)).rejects.toThrow(message);
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test("a shorter side keeps the aspect ratio, HEIGHTxWIDTH stretches", async () => {
    const stretched = await openTestData(at("size"), { images: { resize: [4, 4] } });
    expect((await all(stretched)).inputs.get("image")?.shape).toEqual([1, 4, 4, 3]);
    const first = pixelsOf(await all(stretched)).filter((_, i) => i % 3 === 0);
    expect(first[0]).toBeLessThanOrEqual(1);
    expect(first[3]).toBeGreaterThanOrEqual(6);
    const kept = await openTestData(at("size"), { images: { resize: 2 } });
    const middle = pixelsOf(await all(kept)).filter((_, i) => i % 3 === 0);
    for (const value of middle) expect(value).toBeGreaterThanOrEqual(2);
    for (const value of middle) expect(value).toBeLessThanOrEqual(5);
  });
});

/** torch 1.13: interpolate(size=(5, 7), mode="bilinear", antialias=True, align_corners=False), rounded; [5, 7, 3]. */
const torchResized = [
  26, 46, 66, 43, 63, 83, 57, 77, 97, 75, 95, 115, 89, 109, 129, 107, 127, 147, 119, 139, 159, 36, 56, 76, 50, 70, 90,
  66, 86, 106, 82, 102, 122, 97, 117, 137, 115, 135, 155, 127, 147, 167, 42, 62, 82, 58, 78, 98, 73, 93, 113, 90, 110,
  130, 104, 124, 144, 122, 142, 162, 134, 154, 174, 52, 72, 92, 66, 86, 106, 82, 102, 122, 99, 119, 139, 114, 134, 154,
  131, 151, 171, 143, 163, 183, 57, 77, 97, 72, 92, 112, 87, 107, 127, 105, 125, 145, 119, 139, 159, 137, 157, 177, 149,
  169, 189,
];

describe("pictures of other kinds", () => {
  const colour = [200, 100, 50] as const;
  const decoded = async (path: string, side = 4): Promise<number[]> =>
    pixelsOf(await all(await openTestData(at(path), square(side))));
  const write = async (path: string, picture: ReturnType<typeof sharp>): Promise<void> => {
    await mkdir(join(folder, dirname(path)), { recursive: true });
    await picture.toFile(join(folder, path));
  };
  const raw = (pixel: (i: number) => readonly number[], channels: 1 | 2 | 3 | 4, side = 8): ReturnType<typeof sharp> =>
    sharp(Uint8Array.from(Array.from({ length: side * side }, (_, i) => pixel(i)).flat()), {
      raw: { width: side, height: side, channels },
    });

  test("colours are those of the file, however transparent they are", async () => {
    await write("alpha/a.png", raw((i) => [...colour, i % 3 === 0 ? 0 : 255 - i], 4).png());
    expect(new Set(await decoded("alpha"))).toEqual(new Set(colour));
  });

  test.each([
    [
      "grey",
      () =>
        raw(() => [77], 1)
          .toColourspace("b-w")
          .png(),
    ],
    [
      "grey with transparency",
      () =>
        raw((i) => [77, i], 2)
          .toColourspace("b-w")
          .png(),
    ],
    ["of a palette", () => raw(() => [77, 77, 77], 3).png({ palette: true })],
    [
      "of 16 bits",
      () =>
        raw(() => [77, 77, 77], 3)
          .toColourspace("rgb16")
          .png(),
    ],
    [
      "turned by their metadata, which is not heeded",
      () =>
        raw(() => [77, 77, 77], 3)
          .withMetadata({ orientation: 6 })
          .png(),
    ],
  ])("those that are %s become red, green and blue", async (what, make) => {
    const path = `kinds/${what}`;
    await write(`${path}/a.png`, make());
    expect(await decoded(path)).toEqual(new Array(48).fill(77));
  });

  test("the orientation in the metadata turns nothing", async () => {
    const rows = raw((i) => [Math.floor(i / 8) * 30, 0, 0], 3).withMetadata({ orientation: 6 });
    await write("turned/a.png", rows.png());
    const reds = (await decoded("turned", 8)).filter((_, i) => i % 3 === 0);
    expect(reds).toEqual(Array.from({ length: 64 }, (_, i) => Math.floor(i / 8) * 30));
  });

  test("inks become red, green and blue", async () => {
    await write(
      "inks/a.jpg",
      raw(() => [255, 255, 255], 3)
        .toColourspace("cmyk")
        .jpeg(),
    );
    const pixels = await decoded("inks");
    expect(pixels).toHaveLength(48);
    for (const value of pixels) expect(value).toBeGreaterThan(245);
  });
});

test("pictures are made smaller as torchvision makes them", async () => {
  const colour = (i: number): Colour => {
    const [x, y] = [i % 56, Math.floor(i / 56)];
    const red = 2 * x + y + 2 * ((x * y) % 17);
    return [red, red + 20, red + 40];
  };
  await draw(
    "torch/a.png",
    Array.from({ length: 40 * 56 }, (_, i) => colour(i)),
    56,
    40,
  );
  const pixels = pixelsOf(await all(await openTestData(at("torch"), { images: { resize: [5, 7] } })));
  const apart = pixels.map((value, i) => Math.abs(value - torchResized[i]));
  expect(Math.max(...apart)).toBeLessThanOrEqual(4);
  expect(apart.reduce((sum, value) => sum + value, 0) / apart.length).toBeLessThan(1.5);
});

const square = (side: number) => ({ images: { crop: [side, side] as const } });

describe("what is wrong with images is said, and where", () => {
  test.each([
    [
      "a file that is not a picture",
      "broken/x/a.jpg",
      new TextEncoder().encode("no picture"),
      /unsupported image format/,
    ],
    ["a file cut off", "cut/x/a.png", new Uint8Array(), /.+/],
  ])("%s is named when it is read", async (_, path, bytes, reason) => {
    await plain(path.replace("a.", "good."), [1, 2, 3], 64, 64);
    const good = await sharp(join(folder, path.replace("a.", "good.")))
      .jpeg()
      .toBuffer();
    await writeFile(join(folder, path), bytes.length > 0 ? bytes : good.subarray(0, good.length / 2));
    const dataset = await openTestData(at(dirname(dirname(path))), square(8));
    const failure = await Promise.resolve(dataset.read(naturalOrder(2))).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "BAD_DATA" });
    expect(String(failure)).toContain(`Cannot decode the image "${join(folder, path)}": `);
    expect(String(failure)).toMatch(reason);
  });

  test.each([
    ["mixed", 'images ("a.png", …) and folders ("x", …)'],
    ["empty", "has no images; expected .jpg, .png"],
    ["hollow", "is a class without images"],
    ["other", 'b.bmp" is a picture of a format that is not read; expected .jpg, .png'],
    ["nowhere", "no such file or folder"],
    ["stranger", 'has the class "cow", which the training data lacks; it has 1: dog.'],
  ])("%s", async (path, message) => {
    await plain("mixed/a.png", [0, 0, 0]);
    await plain("mixed/x/b.png", [0, 0, 0]);
    await mkdir(join(folder, "empty"), { recursive: true });
    await plain("hollow/x/b.png", [0, 0, 0]);
    await mkdir(join(folder, "hollow/y"), { recursive: true });
    await plain("other/x/a.png", [0, 0, 0]);
    await writeFile(join(folder, "other/x/b.bmp"), "BM");
    await plain("stranger/train/dog/b.png", [0, 0, 0]);
    await plain("stranger/test/cow/b.png", [0, 0, 0]);
    await expect(openData(at(path), square(8))).rejects.toThrow(message);
  });

  test("sizes that do not fit are refused", async () => {
    await expect(openTestData(at("size"))).rejects.toThrow(
      "Images have to become one size, and the model takes any. Give resize and crop: --resize 256 --crop 224",
    );
    await expect(openTestData(at("size"), { images: { resize: 4, crop: [8, 8] } })).rejects.toThrow(
      "resize is 4x4, smaller than the crop of 8x8. Choose a larger --resize",
    );
    const dataset = await openTestData(at("size"), { images: { resize: 4, crop: [4, 9] } });
    await expect(all(dataset)).rejects.toThrow(/wide\.png" is 4x8 once resized, smaller than the crop of 4x9/);
  });

  test("test data of other classes is refused", async () => {
    const more = { ...square(2), testData: at("set/val") };
    await expect(openData(at("set/train"), more)).rejects.toThrow(/has the 1 classes dog; .* has 2: cat, dog\./);
  });
});
