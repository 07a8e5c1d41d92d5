import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { batches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { writeNpy } from "../data/npy.ts";
import { preprocessPresets } from "../data/preprocess.ts";
import { readSafetensors } from "../data/safetensors.ts";
import { naturalOrder } from "../data/sampler.ts";
import { numbersOf, tensorOf, toNumbers } from "../ir/tensor.ts";
import { fileSource } from "./file-source.ts";
import { openData, openTestData } from "./open-data.ts";

let folder = "";
const inFolder = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-data-"));
  await writeFile(
    inFolder("x.npy"),
    writeNpy(
      tensorOf(
        "float32",
        [20, 3],
        Array.from({ length: 60 }, (_, i) => i),
      ),
    ),
  );
  await writeFile(
    inFolder("y.npy"),
    writeNpy(
      tensorOf(
        "int32",
        [20],
        Array.from({ length: 20 }, (_, i) => i % 4),
      ),
    ),
  );
  await writeFile(inFolder("data_batch_1.bin"), new Uint8Array(3073 * 2).fill(3));
  await writeFile(
    inFolder("data.js"),
    `export const train = {
  length: 4,
  inputs: { a: { dtype: "float32", shape: [1] }, b: { dtype: "float32", shape: [2] } },
  hasLabels: true,
  read: (indices) => ({
    inputs: {
      a: { dtype: "float32", shape: [indices.length, 1], data: Float32Array.from(indices) },
      b: { dtype: "float32", shape: [indices.length, 2], data: new Float32Array(indices.length * 2) },
    },
    labels: { dtype: "int64", shape: [indices.length], data: BigInt64Array.from(indices, BigInt) },
  }),
};
export const classes = ["one", "two"];
`,
  );
  await writeFile(inFolder("bad.js"), "export const train = { length: 0, inputs: {}, read() {} };\n");
});
afterAll(() => rm(folder, { recursive: true }));

describe("openData", () => {
  test("npy files give inputs and labels, a tenth held out", async () => {
    const source = await openData(`npy:${inFolder("x.npy")},${inFolder("y.npy")}`, { seed: 1 });
    expect([source.train.length, source.test.length, source.heldOut]).toEqual([18, 2, true]);
    const { inputs, labels } = await source.train.read(naturalOrder(18));
    const rows = toNumbers(inputs.get("input")!);
    expect(toNumbers(labels!)).toEqual(Array.from({ length: 18 }, (_, i) => (rows[3 * i] / 3) % 4));
  });

  test("floats as labels are what the model's output should be", async () => {
    const dataset = await openTestData(`npy:${inFolder("y.npy")},${inFolder("x.npy")}`);
    expect(dataset.target).toEqual({ dtype: "float32", shape: [3] });
    for await (const { target } of batches(dataset, { batchSize: 20, preprocess: preprocessPresets.none }))
      expect(toNumbers(target!)).toEqual(Array.from({ length: 60 }, (_, i) => i));
  });

  test("files compressed with gzip are read as those they hold", async () => {
    const bytes = await readFile(inFolder("x.npy"));
    await writeFile(inFolder("packed.npy.gz"), gzipSync(bytes));
    await mkdir(inFolder("packed"), { recursive: true });
    await writeFile(inFolder("packed/data_batch_1.bin.gz"), gzipSync(new Uint8Array(3073 * 2).fill(3)));
    const [plain, packed] = await Promise.all(
      ["x.npy", "packed.npy.gz"].map((name) => openTestData(`npy:${inFolder(name)}`)),
    );
    const read = async (dataset: Dataset) => (await dataset.read(naturalOrder(20))).inputs.get("input");
    expect(await read(packed)).toEqual(await read(plain));
    expect((await openTestData(`cifar10:${inFolder("packed")}`)).length).toBe(2);
    await writeFile(inFolder("cut.npy.gz"), gzipSync(bytes).subarray(0, 60));
    await expect(openTestData(`npy:${inFolder("cut.npy.gz")}`)).rejects.toThrow(
      /Cannot unpack ".*cut\.npy\.gz": unexpected end of file\. The gzip file is damaged or incomplete\./,
    );
  });

  test("a small file that unpacks to much is refused after 128 MiB, whatever it claims", async () => {
    const part = gzipSync(new Uint8Array(2 ** 24));
    const path = inFolder("bomb.npy.gz");
    await writeFile(path, Buffer.concat(Array.from({ length: 200 }, () => part)));
    const started = performance.now();
    await expect(openTestData(`npy:${path}`)).rejects.toThrow(
      /"[^"]*bomb\.npy\.gz" unpacks \d+ bytes to 13\d{7} or more; what is unpacked are 128 MiB, or 256 times the packed bytes/,
    );
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test("MNIST's files give images of one channel, compressed or not", async () => {
    const header = (...sizes: number[]): number[] => [
      0,
      0,
      8,
      sizes.length,
      ...sizes.flatMap((size) => [0, 0, 0, size]),
    ];
    const images = Uint8Array.from([...header(2, 2, 3), ...Array.from({ length: 12 }, (_, i) => i)]);
    const labels = Uint8Array.from([...header(2), 7, 5]);
    await mkdir(inFolder("mnist"), { recursive: true });
    await writeFile(inFolder("mnist/train-images-idx3-ubyte.gz"), gzipSync(images));
    await writeFile(inFolder("mnist/train-labels-idx1-ubyte"), labels);
    await writeFile(inFolder("mnist/t10k-images.idx3-ubyte"), images.subarray(0, 20));
    await writeFile(inFolder("mnist/t10k-labels.idx1-ubyte"), labels);
    await expect(openData(`mnist:${inFolder("mnist")}`)).rejects.toThrow(
      /t10k-images\.idx3-ubyte: \[2, 2, 3\] wants 12 bytes from byte 16 on, the file has 4\. Is it complete\?/,
    );
    await writeFile(inFolder("mnist/t10k-images.idx3-ubyte"), images);
    const { train, test, heldOut } = await openData(`mnist:${inFolder("mnist")}`);
    expect([train.length, test.length, heldOut]).toEqual([2, 2, false]);
    const samples = await train.read(Int32Array.of(1));
    expect(samples.inputs.get("image")).toEqual({
      dtype: "uint8",
      shape: [1, 1, 2, 3],
      data: Uint8Array.of(6, 7, 8, 9, 10, 11),
    });
    expect(toNumbers(samples.labels!)).toEqual([5]);
    await expect(openData(`mnist:${folder}`)).rejects.toThrow("has no MNIST files; expected train-images-idx3-ubyte");
  });

  test("with separate test data nothing is held out", async () => {
    const text = `npy:${inFolder("x.npy")}`;
    const source = await openData(text, { testData: text });
    expect([source.train.length, source.test.length, source.heldOut]).toEqual([20, 20, false]);
    expect((await openTestData(text)).length).toBe(20);
  });

  test("a module gives several named inputs", async () => {
    const dataset = await openTestData(`module:${inFolder("data.js")}`);
    expect([...dataset.inputs.keys()]).toEqual(["a", "b"]);
    for await (const batch of batches(dataset, { batchSize: 4, preprocess: preprocessPresets.none })) {
      expect(toNumbers(batch.inputs.get("a")!)).toEqual([0, 1, 2, 3]);
      expect(toNumbers(batch.labels!)).toEqual([0, 1, 2, 3]);
    }
  });

  test("a module that gives labels without hasLabels is told to add it", async () => {
    const text = await readFile(inFolder("data.js"), "utf8");
    await writeFile(inFolder("silent.js"), text.replace("hasLabels: true,", ""));
    const dataset = await openTestData(`module:${inFolder("silent.js")}`);
    await expect(dataset.read(Int32Array.of(0))).rejects.toThrow(
      /silent\.js.*: export "train"\.read\(\) gives labels, but hasLabels is missing\. Add hasLabels: true, or false/,
    );
  });

  test("paths may have spaces, signs and letters of any language", async () => {
    const odd = join(folder, "my dàta 100%");
    await mkdir(odd);
    await writeFile(join(odd, "x é.npy"), writeNpy(tensorOf("float32", [3, 2], [1, 2, 3, 4, 5, 6])));
    expect((await openTestData(`npy:${join(odd, "x é.npy")}`)).length).toBe(3);
    const module = `export const train = { length: 2, inputs: { x: { dtype: "float32", shape: [1] } }, read() {} };`;
    await writeFile(join(odd, "dätä 2.mjs"), module);
    expect((await openTestData(`module:${join(odd, "dätä 2.mjs")}`)).length).toBe(2);
  });

  test("a file too large to be read whole is refused with other ways", async () => {
    const path = join(folder, "large.npy");
    await writeFile(path, "");
    await truncate(path, 2 ** 31 + 1);
    await expect(openTestData(`npy:${path}`)).rejects.toThrow(
      /^Cannot read ".*large\.npy": it is larger than the 2 GiB .* Data can be split, or read on demand by a module/,
    );
    await rm(path);
  });

  test("what cannot be opened is refused with what was expected", async () => {
    await expect(openData("cifar:x")).rejects.toThrow(
      'data is "cifar:x"; expected "images:DIR", "cifar10:DIR", "mnist:DIR", "npy:INPUTS,LABELS", "npz:FILE", "text:FILE.tsv" or "module:./file.js". Did you mean "cifar10:x"?',
    );
    await expect(openData("pictures/")).rejects.toThrow('For a folder of pictures: "images:pictures/".');
    await expect(openData("npy:a,b,c")).rejects.toThrow(
      'data "npy:a,b,c" names 3 files; expected inputs, and labels if there are any.',
    );
    await expect(openData("npy:/nowhere/x.npy")).rejects.toThrow(
      'Cannot read "/nowhere/x.npy": no such file or folder.',
    );
    await expect(openData("cifar10:/nowhere")).rejects.toThrow('Cannot read "/nowhere": no such file or folder.');
    await expect(openData(`module:${inFolder("bad.js")}`)).rejects.toThrow(/bad\.js: export "train"\.length: .*>=1/);
    await expect(openData(`module:${inFolder("none.js")}`)).rejects.toThrow("no such file or folder");
  });

  test("CIFAR-10 records are read as they are, and other files refused", async () => {
    const dataset = await openTestData(`cifar10:${folder}`);
    const { inputs, labels } = await dataset.read(Int32Array.of(1));
    expect(inputs.get("image")!.shape).toEqual([1, 3, 32, 32]);
    expect(toNumbers(labels!)).toEqual([3]);
    await writeFile(inFolder("data_batch_2.bin"), new Uint8Array(3074));
    await expect(openTestData(`cifar10:${folder}`)).rejects.toThrow(
      "data_batch_2.bin has 3074 bytes; expected a multiple of 3073",
    );
  });
});

const real = process.env["FROSTBIT_DATA"];
describe.skipIf(!real)("the real CIFAR-10 (FROSTBIT_DATA)", () => {
  test("its first 64 test images, preprocessed, are those that the reference model was given", async () => {
    const { test: dataset, train, heldOut, classes } = await openData(`cifar10:${real}/cifar10`);
    expect([train.length, dataset.length, heldOut, classes?.length]).toEqual([50000, 10000, false, 10]);
    const path = `${real}/resnet_cifar10/resnet20_reference_logits64.safetensors`;
    const { tensors } = readSafetensors(fileSource(path), path);
    const expected = [...tensors.values()].find((value) => value.shape.length === 4)!;
    for await (const batch of batches(dataset, { batchSize: 64, preprocess: preprocessPresets.imagenet })) {
      const actual = numbersOf(batch.inputs.get("image")!);
      const wanted = numbersOf(expected);
      let worst = 0;
      for (let i = 0; i < wanted.length; i++) worst = Math.max(worst, Math.abs(wanted[i] - actual[i]));
      expect(worst).toBeLessThan(1e-6);
      break;
    }
  });

  test("MNIST's test images are those that the reference model was trained for", async () => {
    const { train, test: dataset } = await openData(`mnist:${real}/mnist`);
    expect([train.length, dataset.length, dataset.inputs.get("image")?.shape]).toEqual([60000, 10000, [1, 28, 28]]);
  });
});
