import { describe, expect, test } from "vitest";
import type { ValueType } from "../ir/graph.ts";
import { narrowTensor } from "../ir/half.ts";
import { allocate, type Tensor, tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { placeSamples } from "./batch-axis.ts";
import { type Batch, batchCount, batches, runAhead } from "./batches.ts";
import { type Dataset, limit, matchInputs } from "./dataset.ts";
import { bucketsOf, orderInBuckets } from "./lengths.ts";
import { memoryDataset } from "./memory-dataset.ts";
import { choosePictures } from "./pictures.ts";
import { preprocessPresets, resolvePreprocess } from "./preprocess.ts";
import { randomBelow } from "./random.ts";
import { naturalOrder, shuffledOrder } from "./sampler.ts";
import { holdOut } from "./split.ts";

const bytes = (count: number, size = 8, channels = 3): Dataset =>
  memoryDataset(
    "bytes",
    new Map([
      [
        "image",
        {
          dtype: "uint8",
          shape: [count, channels, size, size],
          data: Uint8Array.from({ length: count * channels * size * size }, (_, i) => (i * 37) % 256),
        },
      ],
    ]),
    { dtype: "int64", shape: [count], data: BigInt64Array.from({ length: count }, (_, i) => BigInt(i)) },
  );

async function collect(iterable: AsyncIterable<Batch>): Promise<Batch[]> {
  const result: Batch[] = [];
  for await (const item of iterable) result.push(item);
  return result;
}
const image = (batch: Batch): number[] => toNumbers(batch.inputs.get("image")!);
const labels = (list: readonly Batch[]): number[] => list.flatMap((batch) => toNumbers(batch.labels!));

describe("a sample that holds NaN", () => {
  const data = new Float32Array(30 * 2).fill(1);
  data[2 * 17 + 1] = Number.NaN;
  const spoiled = memoryDataset("spoiled", new Map([["x", { dtype: "float32", shape: [30, 2], data }]]));

  test("is named by its place in the data that were opened, whatever was held out of them", async () => {
    const options = { batchSize: 8, preprocess: preprocessPresets.none };
    const message = '"x" is NaN in sample 17 of "spoiled" (element 1 of 2). Repair the data, or take the sample out.';
    await expect(collect(batches(spoiled, options))).rejects.toThrow(message);
    const { train, test: tested } = holdOut(spoiled, 3);
    const reads = [train, tested].map((part) => collect(batches(part, options)));
    const results = await Promise.allSettled(reads);
    const reasons = results.flatMap((result) => (result.status === "rejected" ? [String(result.reason)] : []));
    expect(reasons).toEqual([expect.stringContaining(message)]);
  });
});

describe("batches", () => {
  test("cover the dataset in order, the last one smaller", async () => {
    const list = await collect(batches(bytes(10), { batchSize: 4, preprocess: preprocessPresets.none }));
    expect(list.map((batch) => batch.inputs.get("image")!.shape)).toEqual([
      [4, 3, 8, 8],
      [4, 3, 8, 8],
      [2, 3, 8, 8],
    ]);
    expect(labels(list)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(batchCount(10, 4)).toBe(3);
  });

  test("drop a last batch that is not full where asked to", async () => {
    const list = await collect(
      batches(bytes(10), { batchSize: 4, preprocess: preprocessPresets.none, dropLast: true }),
    );
    expect(labels(list)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test("go on from a batch in the middle as if never interrupted", async () => {
    const dataset = bytes(20);
    const options = {
      batchSize: 4,
      preprocess: preprocessPresets.imagenet,
      order: shuffledOrder(20, 1, 2),
      augment: { operations: ["crop", "flip"], seed: 1, epoch: 2 },
    } as const;
    const whole = await collect(batches(dataset, options));
    const rest = await collect(batches(dataset, { ...options, start: 2 }));
    expect(rest).toEqual(whole.slice(2));
  });

  test("are scaled, centred and divided per channel", async () => {
    const [batch] = await collect(batches(bytes(1), { batchSize: 1, preprocess: preprocessPresets.imagenet }));
    const { mean, std } = preprocessPresets.imagenet;
    image(batch).forEach((value, i) => {
      const channel = Math.floor(i / 64);
      expect(value).toBeCloseTo((((i * 37) % 256) / 255 - mean[channel]) / std[channel], 6);
    });
  });

  test("float images are preprocessed like bytes", async () => {
    const dataset = bytes(2);
    const { inputs } = await dataset.read(naturalOrder(2));
    const floats = memoryDataset(
      "floats",
      new Map([
        [
          "image",
          { ...inputs.get("image")!, dtype: "float32", data: Float32Array.from(toNumbers(inputs.get("image")!)) },
        ],
      ]),
    );
    const options = { batchSize: 2, preprocess: preprocessPresets.imagenet };
    const [fromBytes] = await collect(batches(dataset, options));
    const [fromFloats] = await collect(batches(floats, options));
    expect(image(fromFloats)).toEqual(image(fromBytes));
  });

  test("are given in the layout that the model wants", async () => {
    const preprocess = resolvePreprocess("none", { layout: "nhwc" });
    const [batch] = await collect(batches(bytes(2), { batchSize: 2, preprocess }));
    expect(batch.inputs.get("image")!.shape).toEqual([2, 8, 8, 3]);
    const [original] = await collect(batches(bytes(2), { batchSize: 2, preprocess: preprocessPresets.none }));
    const at = (values: number[], n: number, c: number, y: number, x: number): number =>
      values[((n * 3 + c) * 8 + y) * 8 + x];
    image(batch).forEach((value, i) => {
      const [c, x, y, n] = [i % 3, Math.floor(i / 3) % 8, Math.floor(i / 24) % 8, Math.floor(i / 192)];
      expect(value).toBe(at(image(original), n, c, y, x));
    });
  });

  test("are given as blue, green, red where the model wants that, in either layout, by means of its own order", async () => {
    const [original] = await collect(batches(bytes(2), { batchSize: 2, preprocess: preprocessPresets.none }));
    const given = image(original);
    for (const layout of ["nchw", "nhwc"] as const) {
      const preprocess = resolvePreprocess("none", { layout, channels: "bgr", mean: [10, 20, 30] });
      const [batch] = await collect(batches(bytes(2), { batchSize: 2, preprocess }));
      image(batch).forEach((value, i) => {
        const [n, rest] = [Math.floor(i / 192), i % 192];
        const channel = layout === "nchw" ? Math.floor(rest / 64) : rest % 3;
        const pixel = layout === "nchw" ? rest % 64 : Math.floor(rest / 3);
        expect(value).toBe(given[(n * 3 + 2 - channel) * 64 + pixel] - [10, 20, 30][channel]);
      });
    }
    const gray = batches(bytes(2, 8, 1), { batchSize: 2, preprocess: resolvePreprocess("none", { channels: "bgr" }) });
    await expect(collect(gray)).rejects.toThrow(
      "preprocess.channels is bgr, and the images have 1 channel; expected 3.",
    );
  });

  test("flip mirrors each row, and crop moves the image over black, which is normalized like any pixel", async () => {
    const dataset = bytes(64, 8, 1);
    const preprocess = resolvePreprocess("unit", { mean: [0.5] });
    const [plain] = await collect(batches(dataset, { batchSize: 64, preprocess }));
    const augment = { operations: ["crop", "flip"], seed: 3, epoch: 0 } as const;
    const [augmented] = await collect(batches(dataset, { batchSize: 64, preprocess, augment }));
    const seen = new Set<string>();
    for (let n = 0; n < 64; n++) {
      const original = image(plain).slice(n * 64, n * 64 + 64);
      const changed = image(augmented).slice(n * 64, n * 64 + 64);
      seen.add(findShift(original, changed));
    }
    expect(seen.size).toBeGreaterThan(40);
  });

  test("tensors that are not images stay as they are", async () => {
    const tokens = { dtype: "int64", shape: [3, 2], data: BigInt64Array.of(1n, 2n, 3n, 4n, 5n, 6n) } as const;
    const dataset = memoryDataset("tokens", new Map([["ids", tokens]]));
    const [batch] = await collect(batches(dataset, { batchSize: 3, preprocess: preprocessPresets.imagenet }));
    expect(batch.inputs.get("ids")).toEqual(tokens);
    expect(batch.labels).toBeUndefined();
  });

  const picture = (dtype: "uint8" | "float32", value: number): Tensor =>
    tensorOf(
      dtype,
      [2, 1, 2, 2],
      Array.from({ length: 8 }, () => value),
    );
  const prepared = async (dataset: Dataset, preprocess = preprocessPresets.unit): Promise<Record<string, number>> => {
    const [{ inputs }] = await collect(batches(dataset, { batchSize: 2, preprocess }));
    return Object.fromEntries([...inputs].map(([name, value]) => [name, toNumbers(value)[0]]));
  };

  test("with several inputs, those of bytes are pictures, and maps of floats stay as they are", async () => {
    const inputs = { image: picture("uint8", 255), map: picture("float32", 255), second: picture("uint8", 51) };
    const dataset = memoryDataset("two", new Map(Object.entries(inputs)));
    const [{ inputs: one }] = await collect(batches(dataset, { batchSize: 2, preprocess: preprocessPresets.unit }));
    expect(toNumbers(one.get("image")!)[0]).toBeCloseTo(1, 6);
    expect(toNumbers(one.get("second")!)[0]).toBeCloseTo(0.2, 6);
    expect(one.get("map")).toEqual(inputs.map);
    const named = await prepared(choosePictures(dataset, ["map"]));
    expect([named["image"], named["map"]]).toEqual([255, 1]);
  });

  test("of several inputs of floats, those that are pictures are asked for", async () => {
    const floats = new Map([
      ["image", picture("float32", 255)],
      ["map", picture("float32", 51)],
    ]);
    const dataset = memoryDataset("floats", floats);
    const which =
      'which of the inputs of "floats" are pictures is not known; "image" (float32 [1, 2, 2]), "map" (float32 [1, 2, 2]) may be.';
    await expect(prepared(dataset)).rejects.toThrow(`preprocess: ${which} Name those that are (--preprocess-inputs;`);
    const flipped = { operations: ["flip"], seed: 1, epoch: 0 } as const;
    await expect(
      collect(batches(dataset, { batchSize: 2, preprocess: preprocessPresets.none, augment: flipped })),
    ).rejects.toThrow(`augment: ${which}`);
    expect(await prepared(dataset, preprocessPresets.none)).toEqual({ image: 255, map: 51 });
    expect(await prepared(choosePictures(dataset, ["image"]))).toEqual({ image: 1, map: 51 });
    expect(() => choosePictures(dataset, ["mask"])).toThrow(
      'preprocessInputs names "mask", which is not an input of "floats"; expected bytes or floats of three axes. The inputs are "image", "map".',
    );
  });

  test("a scalar belongs to every sample; where the model takes one number, so do equal ones of each sample", async () => {
    const x = tensorOf("float32", [3, 2], [1, 2, 3, 4, 5, 6]);
    const model = new Map<string, ValueType>([
      ["x", { dtype: "float32", shape: ["N", 2] }],
      ["t", { dtype: "float32", shape: [] }],
    ]);
    const first = async (
      t: Tensor,
      inputs: Parameters<typeof placeSamples>[1] = model,
    ): Promise<Tensor | undefined> => {
      const dataset = placeSamples(
        memoryDataset(
          "scalar",
          new Map([
            ["t", t],
            ["x", x],
          ]),
        ),
        inputs,
      );
      const [batch] = await collect(batches(dataset, { batchSize: 2, preprocess: preprocessPresets.none }));
      return batch.inputs.get("t");
    };
    const two = tensorOf("float32", [], [2]);
    expect(await first(two)).toEqual(two);
    expect(await first(tensorOf("float32", [3], [2, 2, 2]))).toEqual(two);
    await expect(first(tensorOf("float32", [3], [2, 7, 2]))).rejects.toThrow(
      '"t" is 2 in sample 0 of "scalar" and 7 in sample 1; the model takes one number for all samples that run at once. Give the samples of each number as a separate dataset.',
    );
    const each = new Map([...model, ["t", { dtype: "float32", shape: ["N"] } as ValueType]]);
    expect(await first(two, each)).toEqual(tensorOf("float32", [2], [2, 2]));
    expect(() => memoryDataset("none", new Map([["t", two]]))).toThrow("every input is a scalar");
  });

  test("states are given along the axis where the model has its batch, from data with samples along either", async () => {
    const model = new Map([
      ["state", { dtype: "float32", shape: [2, "N", 2] }],
      ["x", { dtype: "float32", shape: ["N", 1] }],
    ] as const);
    // [samples, layers, 2]: sample 0 is 0, 1, 2, 3.
    const rows = tensorOf("float32", [3, 2, 2], naturalOrder(12));
    const layers = tensorOf("float32", [2, 3, 2], [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]);
    for (const state of [rows, layers]) {
      const dataset = memoryDataset(
        "states",
        new Map([
          ["state", state],
          ["x", tensorOf("float32", [3, 1], [7, 8, 9])],
        ]),
      );
      expect(dataset.length).toBe(3);
      const placed = placeSamples(dataset, model);
      const all = await collect(batches(placed, { batchSize: 2, preprocess: preprocessPresets.none }));
      expect(all.map(({ inputs }) => inputs.get("state"))).toEqual([
        tensorOf("float32", [2, 2, 2], [0, 1, 4, 5, 2, 3, 6, 7]),
        tensorOf("float32", [2, 1, 2], [8, 9, 10, 11]),
      ]);
    }
  });

  test.each([
    ["uint64", [1n, 2n ** 64n - 1n, 0n], "18446744073709551615 (sample 1, uint64)"],
    ["uint64", [1n, 0n, 2n ** 53n + 1n], "9007199254740993 (sample 2, uint64)"],
    ["int64", [1n, 0n, -1n], "-1 (sample 2, int64)"],
    ["int8", [-128, 0, 1], "-128 (sample 0, int8)"],
    ["uint32", [0, 2 ** 32 - 1, 1], "4294967295 (sample 1, uint32)"],
  ] as const)("labels of %s outside the classes are no class indices: %s", (dtype, values, what) => {
    const array = allocate(dtype, 3);
    array.set(values as never);
    const x = tensorOf("float32", [3, 1], [1, 2, 3]);
    const { hasLabels, notClasses } = memoryDataset("d", new Map([["x", x]]), tensor(dtype, [3], array));
    expect([hasLabels, notClasses]).toEqual([
      false,
      `label ${what} is out of range; class indices are 0 to 2147483647.`,
    ]);
  });

  test("a dataset that gives other than it says is refused", async () => {
    const dataset: Dataset = { ...bytes(4), name: "wrong", read: () => ({ inputs: new Map() }) };
    await expect(collect(batches(dataset, { batchSize: 4, preprocess: preprocessPresets.none }))).rejects.toThrow(
      'Dataset "wrong", asked for 4 samples: input "image" is absent; expected uint8 [4, 3, 8, 8].',
    );
  });

  test.each([
    ["fewer elements", new Uint8Array(700), "uint8 [4, 3, 8, 8] with 700 elements in Uint8Array"],
    ["another array", new Float64Array(768), "uint8 [4, 3, 8, 8] with 768 elements in Float64Array"],
  ])("a dataset that gives %s than its type says is refused", async (_, data, given) => {
    const images: Tensor = { dtype: "uint8", shape: [4, 3, 8, 8], data };
    const dataset: Dataset = { ...bytes(4), name: "short", read: () => ({ inputs: new Map([["image", images]]) }) };
    await expect(collect(batches(dataset, { batchSize: 4, preprocess: preprocessPresets.none }))).rejects.toThrow(
      `Dataset "short", asked for 4 samples: input "image" is ${given}; expected uint8 [4, 3, 8, 8].`,
    );
  });

  test("half precision is float32: in images, preprocessed as they are, and in what the output should be", async () => {
    const halves = (shape: readonly number[], values: readonly number[]): Tensor =>
      narrowTensor(tensorOf("float32", shape, values), "float16");
    const pixels = halves([2, 1, 1, 2], [0, 51, 102, 255]);
    const dataset = memoryDataset("half", new Map([["image", pixels]]), halves([2, 1], [0.5, -2]));
    const [batch] = await collect(batches(dataset, { batchSize: 2, preprocess: preprocessPresets.unit }));
    expect(batch.inputs.get("image")).toEqual(tensorOf("float32", [2, 1, 1, 2], [0, 0.2, 0.4, 1]));
    expect(batch.target).toEqual(tensorOf("float32", [2, 1], [0.5, -2]));
  });

  test("data without samples are refused", () => {
    const none: Tensor = { dtype: "float32", shape: [0, 3], data: new Float32Array() };
    expect(() => memoryDataset("empty", new Map([["x", none]]))).toThrow('empty has no samples: "x" is [0, 3].');
  });

  test("a dataset may be an instance of a class, with getters and methods that it inherits", async () => {
    const inner = bytes(10);
    class Images implements Dataset {
      readonly #data = inner;
      get name(): string {
        return "a class";
      }
      get length(): number {
        return this.#data.length;
      }
      get inputs(): Dataset["inputs"] {
        return this.#data.inputs;
      }
      get hasLabels(): boolean {
        return true;
      }
      read(indices: Int32Array): ReturnType<Dataset["read"]> {
        return this.#data.read(indices);
      }
    }
    const dataset = matchInputs(limit(new Images(), 5), { inputs: ["pixels"] });
    expect([dataset.name, dataset.length, dataset.hasLabels]).toEqual(["a class", 5, true]);
    const list = await collect(batches(dataset, { batchSize: 4, preprocess: preprocessPresets.none }));
    expect(labels(list)).toEqual([0, 1, 2, 3, 4]);
    expect([...list[0].inputs.keys()]).toEqual(["pixels"]);
  });

  test("a mean of the wrong number of channels is refused", async () => {
    const options = { batchSize: 4, preprocess: preprocessPresets.imagenet };
    await expect(collect(batches(bytes(4, 8, 1), options))).rejects.toThrow(
      "preprocess.mean has 3 values, the images have 1 channel. Give one value, or one per channel.",
    );
  });
});

/** The only crop and flip that explains `changed`; border pixels must be black: (0 - 0.5) / 1. */
function findShift(original: readonly number[], changed: readonly number[]): string {
  for (const mirrored of [false, true])
    for (let down = -4; down <= 4; down++)
      for (let right = -4; right <= 4; right++) {
        const explained = changed.every((value, i) => {
          const y = Math.floor(i / 8) - down;
          const x = (i % 8) - right;
          const inside = y >= 0 && y < 8 && x >= 0 && x < 8;
          return value === (inside ? original[y * 8 + (mirrored ? 7 - x : x)] : -0.5);
        });
        if (explained) return `${down},${right},${mirrored}`;
      }
  throw new Error("no crop and flip gives this image");
}

describe("samples of several lengths", () => {
  const lengths = Int32Array.of(3, 20, 1, 9, 8, 17);
  const tokens = tensorOf(
    "int64",
    [6, 20],
    Array.from({ length: 120 }, (_, i) => (i % 20 < lengths[Math.floor(i / 20)] ? i : 0)),
  );
  const sentences: Dataset = {
    ...memoryDataset("sentences", new Map([["ids", tokens]]), tensorOf("int64", [6], [0, 1, 2, 3, 4, 5])),
    lengths,
  };
  const options = { batchSize: 2, preprocess: preprocessPresets.none };
  const ofEach = (list: readonly Batch[]): ReadonlyMap<number, readonly number[]> =>
    new Map(
      list.flatMap(({ indices, inputs }) => {
        const { shape, data } = inputs.get("ids")!;
        return Array.from(indices, (index, row) => {
          const places = Array.from(data.slice(row * shape[1], (row + 1) * shape[1]), Number);
          return [index, places.slice(0, lengths[index])] as const;
        });
      }),
    );

  test("come long ones first, each batch cut to its longest in steps of 8, and lose nothing", async () => {
    const list = await collect(batches(sentences, { ...options, byLength: true }));
    expect(list.map(({ indices, inputs }) => [...indices, inputs.get("ids")!.shape[1]])).toEqual([
      [1, 5, 20],
      [3, 4, 16],
      [0, 2, 8],
    ]);
    expect(labels(list)).toEqual([1, 5, 3, 4, 0, 2]);
    const whole = await collect(batches(sentences, options));
    expect(whole.every(({ inputs }) => inputs.get("ids")!.shape[1] === 20)).toBe(true);
    expect(new Map([...ofEach(list)].sort(([a], [b]) => a - b))).toEqual(ofEach(whole));
  });

  test("are known by a mask of ones and zeros behind them, and by no other", () => {
    const of = (mask: readonly number[], shape = [2, 4]) =>
      memoryDataset(
        "masked",
        new Map([
          ["ids", tensorOf("int64", shape, new Array(8).fill(1))],
          ["attention_mask", tensorOf("int64", [2, 4], mask)],
        ]),
      ).lengths;
    expect(of([1, 1, 0, 0, 1, 1, 1, 1])).toEqual(Int32Array.of(2, 4));
    expect(of([1, 1, 1, 1, 1, 1, 1, 1])).toBeUndefined();
    expect(of([0, 1, 1, 1, 1, 1, 1, 1])).toBeUndefined();
    expect(of([1, 1, 0, 0, 0, 0, 0, 0])).toBeUndefined();
    expect(of([1, 2, 0, 0, 1, 1, 1, 1])).toBeUndefined();
    expect(of([1, 1, 0, 0, 1, 1, 1, 1], [2, 2, 2])).toBeUndefined();
  });

  test("keep them where data are split, limited and renamed; labels of positions keep samples whole", async () => {
    const { train, test: held } = holdOut(sentences, 0, 0.34);
    for (const part of [train, held, limit(sentences, 3), matchInputs(sentences, { inputs: ["x"] })]) {
      const { lengths: own = [] } = part;
      const [{ inputs }] = await collect(batches(part, { ...options, batchSize: part.length }));
      const [{ shape, data }] = [...inputs.values()];
      const filled = Array.from({ length: shape[0] }, (_, row) =>
        Array.from(data.slice(row * 20, (row + 1) * 20), Number).reduce((most, id, i) => (id === 0 ? most : i + 1), 0),
      );
      expect([...own].map((length, i) => Math.max(length, filled[i]))).toEqual([...own]);
    }
    const positions: Dataset = {
      ...sentences,
      labelShape: [20],
      read: async (indices) => ({
        ...(await sentences.read(indices)),
        labels: tensorOf("int64", [indices.length, 20], new Array(indices.length * 20).fill(0)),
      }),
    };
    const [first] = await collect(batches(positions, { ...options, byLength: true }));
    expect([...first.indices, first.inputs.get("ids")!.shape[1]]).toEqual([0, 1, 20]);
  });
});

describe("buckets of similar length", () => {
  const sentences = (lengths: readonly number[], places = 64): Dataset => ({
    ...memoryDataset(
      "sentences",
      new Map([["ids", tensorOf("int64", [lengths.length, places], new Array(lengths.length * places).fill(1))]]),
    ),
    lengths: Int32Array.from(lengths),
  });
  const drawn = (count: number, most: number): readonly number[] =>
    Array.from({ length: count }, (_, i) => 1 + Math.floor(most * (randomBelow(1000, i, most) / 1000) ** 2));

  test("have at most four lengths, with which the fewest places are filled, as found by trying all", () => {
    const placesOf = (lengths: readonly number[], sizes: readonly number[]): number =>
      lengths.reduce((sum, length) => sum + (sizes.find((size) => size >= length) ?? Number.NaN), 0);
    for (const [count, most] of [
      [50, 64],
      [300, 56],
      [7, 40],
    ] as const) {
      const lengths = drawn(count, most);
      const { sizes = [] } = bucketsOf(sentences(lengths)) ?? {};
      const multiples = Array.from({ length: 8 }, (_, i) => 8 * (i + 1));
      const choices = Array.from({ length: 256 }, (_, bits) => multiples.filter((_, i) => (bits >> i) & 1));
      const fitting = choices.filter(
        (each) => each.length <= sizes.length && Math.max(...each) >= Math.max(...lengths),
      );
      const least = Math.min(...fitting.map((each) => placesOf(lengths, each)));
      expect([2, 3, 4]).toContain(sizes.length);
      expect(placesOf(lengths, sizes)).toBe(least);
    }
  });

  test("have fewer lengths where four would take more than twice the places of the longest", () => {
    const { sizes = [] } = bucketsOf(sentences(Array.from({ length: 400 }, (_, i) => 33 + (i % 32)))) ?? {};
    expect(sizes).toEqual([48, 64]);
  });

  test("are no longer than the samples, and none where labels are of positions", () => {
    expect(bucketsOf(sentences([3, 30], 30))?.sizes).toEqual([8, 30]);
    expect(bucketsOf({ ...sentences([3, 30], 30), labelShape: [30] })).toBeUndefined();
    expect(bucketsOf(bytes(4))).toBeUndefined();
  });

  const [count, batch] = [1003, 8];
  const lengths = Int32Array.from(drawn(count, 64));
  const orderAt = (epoch: number): Int32Array =>
    orderInBuckets(shuffledOrder(count, 1, epoch), lengths, { batch, seed: 1, epoch });

  test("hold each sample once, in an order that follows from seed and epoch, and what fills no batch last", () => {
    const order = orderAt(3);
    expect(order.toSorted()).toEqual(naturalOrder(count));
    expect(orderAt(3)).toEqual(order);
    expect(orderAt(4)).not.toEqual(order);
    expect(order.slice(1000)).toEqual(shuffledOrder(count, 1, 3).slice(1000));
  });

  test("have batches of nearly one length, and short ones before long ones as often as behind", () => {
    const order = orderAt(0);
    const longest: number[] = [];
    let spread = 0;
    for (let first = 0; first + batch <= count; first += batch) {
      const own = Array.from(order.subarray(first, first + batch), (index) => lengths[index]);
      longest.push(Math.max(...own));
      spread += Math.max(...own) - Math.min(...own);
    }
    expect(spread / longest.length).toBeLessThan(4);
    const rises = longest.filter((length, i) => i > 0 && length > longest[i - 1]).length;
    expect(rises).toBeGreaterThan(40);
    expect(rises).toBeLessThan(85);
  });

  test("meet in other batches in each epoch, anywhere among them", () => {
    const placesOfFirst = Array.from({ length: 400 }, (_, epoch) => Math.floor(orderAt(epoch).indexOf(0) / batch));
    const thirds = [0, 1, 2].map((third) => placesOfFirst.filter((at) => Math.floor((3 * at) / 125) === third).length);
    for (const times of thirds) expect(Math.abs(times - 133)).toBeLessThan(30);
    const companions = new Set(
      Array.from({ length: 40 }, (_, epoch) => {
        const order = orderAt(epoch);
        const first = batch * Math.floor(order.indexOf(0) / batch);
        return [...order.subarray(first, first + batch)].toSorted((a, b) => a - b).join();
      }),
    );
    expect(companions.size).toBeGreaterThan(36);
  });

  test("are cut for all shares of a batch alike", async () => {
    const ids = tensorOf("int64", [4, 20], new Array(80).fill(1));
    const dataset = { ...memoryDataset("ids", new Map([["ids", ids]])), lengths: Int32Array.of(3, 20, 2, 9) };
    for (const rank of [0, 1]) {
      const share = { rank, size: 2 };
      const options = { batchSize: 4, preprocess: preprocessPresets.none, cutTo: [8, 16, 20], share };
      const [whole] = await collect(batches(dataset, options));
      expect(whole.inputs.get("ids")?.shape).toEqual([2, 20]);
      const [first, second] = await collect(
        batches(dataset, { ...options, batchSize: 2, order: Int32Array.of(0, 2, 3, 2) }),
      );
      expect([first, second].map(({ inputs }) => inputs.get("ids")?.shape)).toEqual([
        [1, 8],
        [1, 16],
      ]);
    }
  });
});

describe("orders and splits", () => {
  test("a shuffled order is a permutation, the same for the same seed and epoch, another for the next", () => {
    const order = shuffledOrder(1000, 5, 0);
    expect([...order].sort((a, b) => a - b)).toEqual([...naturalOrder(1000)]);
    expect(shuffledOrder(1000, 5, 0)).toEqual(order);
    expect(shuffledOrder(1000, 5, 1)).not.toEqual(order);
    expect(shuffledOrder(1000, 6, 0)).not.toEqual(order);
  });

  test("every position is equally likely to hold every sample", () => {
    const counts = new Float64Array(16);
    for (let epoch = 0; epoch < 4000; epoch++)
      for (let i = 0; i < 4; i++) counts[4 * i + shuffledOrder(4, 0, epoch)[i]]++;
    const chiSquare = counts.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    expect(chiSquare).toBeLessThan(27.9); // 9 degrees of freedom, p = 0.001
  });

  test("a tenth is held out, disjoint from the rest, the same for the same seed", async () => {
    const { train, test: held } = holdOut(bytes(50), 7);
    expect([train.length, held.length]).toEqual([45, 5]);
    const read = async (part: Dataset): Promise<number[]> =>
      toNumbers((await part.read(naturalOrder(part.length))).labels!);
    const all = [...(await read(train)), ...(await read(held))];
    expect(all.sort((a, b) => a - b)).toEqual([...naturalOrder(50)]);
    expect(await read(holdOut(bytes(50), 7).test)).toEqual(await read(held));
    expect(() => holdOut(bytes(3), 0)).toThrow("too few to hold out");
  });

  test("a limit keeps the first samples", () => {
    expect(limit(bytes(10), 4).length).toBe(4);
    expect(limit(bytes(10), 40).length).toBe(10);
  });
});

describe("matching inputs", () => {
  test("a dataset's only input feeds a model's only input of another name", async () => {
    const matched = matchInputs(bytes(2), { inputs: ["x"] });
    expect([...matched.inputs.keys()]).toEqual(["x"]);
    expect([...(await matched.read(naturalOrder(2))).inputs.keys()]).toEqual(["x"]);
  });

  test("several inputs must have the model's names", () => {
    expect(() => matchInputs(bytes(2), { inputs: ["a", "b"] })).toThrow(
      'Dataset "bytes" has no input "a", "b", which the model wants; it has "image". Name the dataset\'s inputs as the model\'s.',
    );
  });
});

describe("running ahead", () => {
  async function* counting(log: string[], upTo: number): AsyncGenerator<number, void, undefined> {
    try {
      for (let i = 0; i < upTo; i++) {
        log.push(`prepared ${i}`);
        yield i;
      }
    } finally {
      log.push("closed");
    }
  }

  const slowly =
    (log: string[]) =>
    async (batch: number): Promise<number> => {
      log.push(`began ${batch}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
      log.push(`ended ${batch}`);
      return batch * 10;
    };

  test("prepares a batch while the last one runs, and gives results in order", async () => {
    const log: string[] = [];
    const seen: (readonly [number, number])[] = [];
    for await (const pair of runAhead(counting(log, 3), slowly(log))) seen.push(pair);
    expect(seen).toEqual([
      [0, 0],
      [1, 10],
      [2, 20],
    ]);
    const lines = ["prepared 0", "began 0", "prepared 1", "ended 0", "began 1", "prepared 2", "ended 1", "began 2"];
    expect(log).toEqual([...lines, "closed", "ended 2"]);
  });

  test("closes the batches when a run fails or nobody wants more", async () => {
    const log: string[] = [];
    const failing = runAhead(counting(log, 3), () => Promise.reject(new Error("no")));
    await expect(failing.next()).rejects.toThrow("no");
    expect(log.at(-1)).toBe("closed");
    for await (const _ of runAhead(counting(log, 9), slowly(log))) break;
    expect(log.at(-1)).toBe("closed");
  });

  test("a batch that cannot be prepared is an error after the results before it", async () => {
    async function* bad(): AsyncGenerator<number, void, undefined> {
      yield 1;
      throw new Error("unreadable");
    }
    const results = runAhead(bad(), async (batch) => batch);
    expect((await results.next()).value).toEqual([1, 1]);
    await expect(results.next()).rejects.toThrow("unreadable");
  });
});
