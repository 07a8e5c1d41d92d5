import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { memoryStorage, type Storage } from "../data/storage.ts";
import { narrowTensor, widenTensor } from "../ir/half.ts";
import { joinedTensor, piecesOf } from "../ir/joined-tensor.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { folderStorage } from "../node/storage.ts";
import { type CacheOptions, openActivationCache, type SpareArrays } from "./activation-cache.ts";

/** 400,000 bytes a sample: two to a chunk of a megabyte. */
const sampleShape = [100, 1000];
const samples = createRandom(1).tensor("float32", [11, ...sampleShape]);
const part = (start: number, end: number): Tensor => ({
  dtype: "float32",
  shape: [end - start, ...sampleShape],
  data: samples.data.slice(start * 100_000, end * 100_000),
});
const order = [10, 3, 3, 0, 7, 9, 1];
const inOrder: Tensor = {
  dtype: "float32",
  shape: [order.length, ...sampleShape],
  data: new Float32Array(order.length * 100_000),
};
for (const [place, index] of order.entries())
  (inOrder.data as Float32Array).set(part(index, index + 1).data as Float32Array, place * 100_000);

/** As bytes: element by element takes seconds. */
function expectSame({ data, ...actual }: Tensor, { data: expectedData, ...expected }: Tensor): void {
  expect(actual).toEqual(expected);
  expect(Buffer.compare(Buffer.from(data.buffer), Buffer.from(expectedData.buffer))).toBe(0);
}

async function filled(options: Partial<CacheOptions> = {}) {
  const cache = await openActivationCache({
    storage: memoryStorage(),
    memoryBytes: 1e9,
    floats: "float32",
    ...options,
  });
  await cache.append("x", part(0, 5));
  await cache.append("x", part(5, 11));
  return cache;
}

let folder: string | undefined;
const newFolder = async (): Promise<string> => {
  folder = await mkdtemp(join(tmpdir(), "activation-cache-"));
  return folder;
};
afterEach(async () => {
  if (folder !== undefined) await rm(folder, { recursive: true });
  folder = undefined;
});

describe("samples", () => {
  test.each(["float32", "float16"] as const)(
    "that are images, channels last, come out in order, kept in %s",
    async (floats) => {
      const [channels, plane] = [3, 4];
      const images = Array.from({ length: 5 }, (_, image) =>
        Float32Array.from({ length: channels * plane }, (_, i) => 100 * image + i),
      );
      const inOrderOf = (image: Float32Array): number[] =>
        Array.from(image, (_, i) => image[(i % plane) * channels + Math.floor(i / plane)]);
      const arrays = [Float32Array.from([...images[0], ...images[1]]), images[2]];
      const given = (places: number[], from: readonly Float32Array[]): Tensor => {
        const pieces = { arrays: from, size: channels * plane, places: Int32Array.from(places), channels };
        return joinedTensor("float32", [places.length, 1, channels, 2, 2], pieces);
      };
      const cache = await openActivationCache({ storage: memoryStorage(), memoryBytes: 1e9, floats });
      await cache.append("x", given([2, 0, 1], arrays));
      await cache.append("x", given([1, 0, 0], images.slice(3)), 2);
      expect(cache.count("x")).toBe(5);
      const read = await cache.read("x", [4, 0, 0]);
      expect(piecesOf(read)?.channels).toBe(channels);
      expect(read.shape).toEqual([3, 1, channels, 2, 2]);
      expect([...numbersOf(read)]).toEqual([images[3], images[2], images[2]].flatMap(inOrderOf));
    },
  );

  test.each([
    ["all in memory", 1e9, 5, 0],
    ["some of them stored", 2e6, 2, 3],
    ["all of them stored", 0, 0, 5],
  ])("come back as they went in, in any order: %s", async (_, memoryBytes, inMemory, stored) => {
    const storage = folderStorage(await newFolder());
    const cache = await filled({ storage, memoryBytes });
    expect(cache.count("x")).toBe(11);
    expect(cache.size()).toEqual({ memoryBytes: inMemory * 800_000, storedBytes: stored * 800_000 });
    expectSame(await cache.read("x", order), inOrder);
    await cache.dispose();
    expect(await storage.list()).toEqual([]);
  });

  test("are joined in the array of the read before, where they are read as one", async () => {
    const cache = await filled();
    const spare: SpareArrays = new Map();
    const first = (await cache.read("x", order, spare)).data;
    const again = await cache.read("x", order.toReversed(), spare);
    expect(again.data).toBe(first);
    expect(again.data.slice(-100_000)).toEqual(part(10, 11).data);
    expect((await cache.read("x", [1], spare)).data).toHaveLength(100_000);
  });

  test("are widened into the array of the read before, where they are kept in half precision", async () => {
    const cache = await filled({ floats: "float16" });
    const spare: SpareArrays = new Map();
    const first = (await cache.read("x", [3, 1], spare)).data;
    const before = first.slice(-100_000);
    const again = await cache.read("x", [1, 3], spare);
    expect(again.data).toBe(first);
    expect(again.data.slice(0, 100_000)).toEqual(before);
  });

  test.each([1e9, 0])(
    "are rounded to half precision where they are kept so, with %d bytes of memory",
    async (memoryBytes) => {
      const cache = await filled({ floats: "float16", memoryBytes });
      const { memoryBytes: inMemory, storedBytes } = cache.size();
      expect(inMemory + storedBytes).toBe(2 * 1_000_000);
      expectSame(await cache.read("x", order), widenTensor(narrowTensor(inOrder, "float16")));
    },
  );

  test("come back where others were dropped before, also from a chunk that is not full", async () => {
    const cache = await filled();
    await cache.drop("x");
    await cache.append("y", part(3, 6));
    await cache.append("z", part(8, 11));
    expectSame(await cache.read("y", [0, 1, 2]), part(3, 6));
    expectSame(await cache.read("z", [0, 1, 2]), part(8, 11));
    expect(cache.size()).toEqual({ memoryBytes: 2 * 800_000, storedBytes: 0 });
  });

  test("of other types keep their type and their bits", async () => {
    const cache = await filled({ floats: "float16" });
    const ids = tensorOf("int64", [3, 2], [1, 2, 3, 4, 5, 70000]);
    const exact = tensorOf("float64", [3], [0.1, 1e300, -2]);
    await cache.append("ids", ids);
    await cache.append("exact", exact);
    expect(await cache.read("ids", [0, 1, 2])).toEqual(ids);
    expect(await cache.read("exact", [2, 0])).toEqual(tensorOf("float64", [2], [-2, 0.1]));
  });

  test("beyond the range of half precision are refused", async () => {
    const cache = await filled({ floats: "float16" });
    await expect(cache.append("y", tensorOf("float32", [1, 2], [1, -70000]))).rejects.toThrow(
      'Activation "y" reaches -70000, beyond float16\'s 65504. Keep activations in float32.',
    );
    await cache.append("mask", tensorOf("float32", [1, 2], [0, Number.NEGATIVE_INFINITY]));
    expect(await cache.read("mask", [0])).toEqual(tensorOf("float32", [1, 2], [0, Number.NEGATIVE_INFINITY]));
  });
});

describe("the storage", () => {
  test("is rid of what a name has there when the name is dropped, and of nothing else", async () => {
    const place = await newFolder();
    const cache = await filled({ storage: folderStorage(place), memoryBytes: 0 });
    await cache.append("y", part(0, 2));
    expect(await readdir(place)).toHaveLength(6);
    await cache.drop("x");
    expect(await readdir(place)).toHaveLength(1);
    expectSame(await cache.read("y", [1]), part(1, 2));
  });

  test("is rid of what a cache left that nobody disposed of", async () => {
    const storage = memoryStorage();
    await storage.write("kept.json", new Uint8Array(1));
    await filled({ storage, memoryBytes: 0 });
    await openActivationCache({ storage, memoryBytes: 0, floats: "float32" });
    expect(await storage.list()).toEqual(["kept.json"]);
  });

  test("that is full is named, with what is there already and what to do", async () => {
    const whole = memoryStorage();
    let written = 0;
    const storage: Storage = {
      ...whole,
      write: async (name, bytes) => {
        if (++written > 2) throw new Error("the disk is full.");
        await whole.write(name, bytes);
      },
    };
    await expect(filled({ storage, memoryBytes: 0 })).rejects.toMatchObject({
      code: "IO",
      message:
        'The activations of "x" could not be stored, after 0.0 MB in memory and 1.6 MB in the storage: the disk is full. Use fewer samples, more memory or float16.',
    });
  });

  test("that something else changes is named", async () => {
    const storage = memoryStorage();
    const cache = await filled({ storage, memoryBytes: 0 });
    await storage.write("activations-0-1.bin", new Uint8Array(7));
    await expect(cache.read("x", [2])).rejects.toThrow('"activations-0-1.bin" has 7 bytes, expected 800000.');
  });
});
