// What the library refuses of its options: what the command refuses of its flags.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import {
  compareModels,
  evaluateFile,
  memoryDataset,
  openData,
  openTestData,
  quantizeFile,
  resolvePreprocess,
  runOptions,
  selectEngine,
  tensorOf,
  writeOnnx,
} from "../../src/index.ts";
import { writeAtomic } from "../../src/node/storage.ts";
import { createRandom } from "../support/random.ts";
import { tinyClassifier, tinyOrigin, tinySize } from "../support/tiny-classifier.ts";

const file = (): Uint8Array => writeOnnx({ graph: tinyClassifier("float32"), origin: tinyOrigin }, { opset: 17 });

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-options-"));
  await writeAtomic(join(folder, "model.onnx"), file());
});
afterAll(() => rm(folder, { recursive: true }));

const random = createRandom(1);
const dataset = memoryDataset(
  "made",
  new Map([["input", random.tensor("float32", [64, 3, tinySize, tinySize])]]),
  tensorOf(
    "int64",
    [64],
    Array.from({ length: 64 }, (_, i) => i % 4),
  ),
);
const preprocess = resolvePreprocess("none");

/** As JavaScript may call it. */
const quantize = (change: object) =>
  quantizeFile({
    modelPath: join(folder, "model.onnx"),
    source: { train: dataset, test: dataset, heldOut: false },
    preprocess,
    options: runOptions.parse({}),
    out: join(folder, "out"),
    engine: selectEngine("onnxruntime"),
    threads: 1,
    ...change,
  });
const evaluate = (change: object) =>
  evaluateFile({ modelPath: join(folder, "model.onnx"), dataset, preprocess, threads: 1, ...change });

test.each([
  [{ recsume: true }, "quantizeFile: recsume: no such option; did you mean resume?"],
  [{ colour: 1 }, "quantizeFile: colour: no such option; expected modelPath, model, source,"],
  [{ tune: "slow" }, 'tune is "slow"'],
  [{ threads: 0 }, "quantizeFile: threads is 0; expected a whole number of at least 1."],
  [{ out: undefined }, "quantizeFile: out is missing."],
  [{ options: { quantize: { weights: 4 } } }, "options: expected what runOptions.parse gives"],
  [{ options: { ...runOptions.parse({}), sede: 1 } }, "options: sede: no such option; did you mean seed?"],
  [
    { options: { ...runOptions.parse({}), quantize: { ...runOptions.parse({}).quantize, weights: 99 } } },
    "options: quantize.weights is 99; expected",
  ],
])("quantizeFile refuses %j", async (change, message) => {
  await expect(quantize(change)).rejects.toMatchObject({
    code: "BAD_OPTION",
    message: expect.stringContaining(message),
  });
});

test("quantizeFile notes options without effect", async () => {
  const onNote = vi.fn<(note: string) => void>();
  const methods = [{ qat: { optimizer: "adam", momentum: 0.5, steps: 1, batch: 32 } }];
  await quantize({ options: runOptions.parse({ methods, quantize: { calibrationSamples: 32 } }), onNote });
  expect(onNote.mock.calls.flat()).toContain("momentum: no effect with optimizer adam.");
});

test.each([
  [{ treads: 2 }, "evaluateFile: treads: no such option; did you mean threads?"],
  [{ limit: 0.5 }, "evaluateFile: limit is 0.5; expected a whole number of at least 1."],
  [{ output: "scroes" }, 'output is "scroes"; the model\'s outputs are '],
  [{ dataset: undefined }, "evaluateFile: dataset is missing."],
])("evaluateFile refuses %j", async (change, message) => {
  await expect(evaluate(change)).rejects.toMatchObject({
    code: "BAD_OPTION",
    message: expect.stringContaining(message),
  });
});

test("evaluateFile measures as many samples as it is told, and notes what looks wrong", async () => {
  const onNote = vi.fn<(note: string) => void>();
  const one = memoryDataset(
    "one label",
    new Map([["input", random.tensor("float32", [40, 3, tinySize, tinySize])]]),
    tensorOf("int64", [40], new Array(40).fill(1)),
  );
  expect(await evaluate({ dataset: one, limit: 16, onNote })).toMatchObject({
    labels: "classes",
    samples: 16,
    classes: 4,
  });
  expect(onNote.mock.calls.flat()).toEqual([expect.stringContaining("All 16 test samples have the same label")]);
});

test("names that are close are offered everywhere", async () => {
  const refused = (call: () => unknown): string => {
    try {
      call();
    } catch (error) {
      return (error as Error).message;
    }
    return "";
  };
  expect(refused(() => resolvePreprocess("imagnet" as "imagenet"))).toContain('Did you mean "imagenet"?');
  expect(refused(() => resolvePreprocess("unit", { maen: [0] } as object))).toContain("did you mean mean?");
  expect(refused(() => selectEngine("onxruntime" as "onnxruntime"))).toContain('Did you mean "onnxruntime"?');
  await expect(openData("npy:x", { testdata: "y" } as object)).rejects.toThrow("did you mean testData?");
  await expect(openTestData("npy:x", { images: { cropp: [1, 1] } } as object)).rejects.toThrow("did you mean crop?");
  const bytes = file();
  const options = { preprocess, treshold: 3, open: () => Promise.reject(new Error("not opened")) };
  await expect(compareModels(bytes, bytes, dataset, options as never)).rejects.toThrow("treshold: no such option");
});
