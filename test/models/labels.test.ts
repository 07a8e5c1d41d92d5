// Labels of every form, from data to verified file: one score a sample, a class for each position, measured values, none that fit.
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { evaluateModel } from "../../src/evaluate/evaluate-model.ts";
import type { Metrics } from "../../src/evaluate/metrics.ts";
import type { ModelFile } from "../../src/evaluate/model-file.ts";
import type { DType } from "../../src/ir/dtype.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { quantizeModel } from "../../src/quantize/quantize-model.ts";
import { isNativeBuilt } from "../support/native.ts";
import { createRandom } from "../support/random.ts";
import { tinyOrigin } from "../support/tiny-classifier.ts";

type Form = "probability" | "logit" | "flat logit";

/** x [N, 8] → one score a sample. */
function single(form: Form): Graph {
  const random = createRandom(3);
  const build = buildOn();
  const weight = (name: string, shape: readonly number[]): string =>
    build.constant(random.uniformTensor("float32", shape, -0.7, 0.7), name);
  const x = build.input("x", { dtype: "float32", shape: ["N", 8] });
  const hidden = build.node("Relu", [build.node("Gemm", [x, weight("w1", [8, 16])])]);
  const z = build.node("MatMul", [hidden, weight("w2", [16, 1])], {}, "z");
  if (form === "logit") return build.graph([z]);
  if (form === "flat logit") return build.graph([build.node("Squeeze", [z, build.ints([1])])]);
  return build.graph([build.node("Sigmoid", [z])]);
}

/** x [N, 3, 6, 6] → scores of 3 classes for each pixel, channels first or last. */
function segmenter(layout: "first" | "last"): Graph {
  const random = createRandom(4);
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 3, 6, 6] });
  const w1 = build.constant(random.uniformTensor("float32", [8, 3, 3, 3], -0.4, 0.4), "w1");
  const w2 = build.constant(random.uniformTensor("float32", [3, 8, 1, 1], -0.5, 0.5), "w2");
  const hidden = build.node("Relu", [build.node("Conv", [x, w1], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] })]);
  const scores = build.node("Conv", [hidden, w2], { kernel_shape: [1, 1] });
  return build.graph([layout === "first" ? scores : build.node("Transpose", [scores], { perm: [0, 2, 3, 1] })]);
}

const count = 160;

async function outputOf(graph: Graph, x: Tensor): Promise<Tensor> {
  const file = await openDeployed(writeOnnx({ graph, origin: tinyOrigin }, { opset: 13 }), { threads: 1 });
  const outputs = await file.run(new Map([[graph.inputs[0], x]]));
  await file.dispose();
  return outputs.get(graph.outputs[0]) as Tensor;
}

const modelOf = (graph: Graph) =>
  readOnnx(writeOnnx({ graph, origin: tinyOrigin }, { opset: 13 }), { name: "model.onnx" });

interface Run {
  readonly graph: Graph;
  readonly x: Tensor;
  readonly labels: Tensor;
  readonly method: string;
  readonly options?: object;
  readonly engine?: ReturnType<typeof createReferenceEngine>;
}

const onNote = vi.fn<(note: string) => void>();

async function run({ graph, x, labels, method, options = {}, engine = createOnnxRuntimeEngine() }: Run) {
  const data = memoryDataset("made", new Map([["x", x]]), labels);
  return quantizeModel(
    {
      model: modelOf(graph),
      source: { train: data, test: data, heldOut: false },
      preprocess: resolvePreprocess("none"),
      options: runOptions.parse({
        quantize: { weights: 3, asymmetricWeights: false, calibrationSamples: 64 },
        methods: [{ [method]: options }],
        accuracies: "all",
      }),
      openDeployed: (file) => openDeployed(file, { threads: 1 }),
    },
    { engine, seed: 0, threads: 1, onNote },
  );
}

const training = { batch: 32, epochs: 12, lr: 0.05, updateRatio: 1 };

function expectLossToFall(losses: readonly number[]): void {
  const mean = (part: readonly number[]): number => part.reduce((sum, loss) => sum + loss, 0) / part.length;
  expect(mean(losses.slice(-10))).toBeLessThan(mean(losses.slice(0, 10)));
}

/** Without the native engine built, its runs are those of the reference. */
const engines = {
  reference: createReferenceEngine,
  onnxruntime: createOnnxRuntimeEngine,
  native: isNativeBuilt ? createNativeEngine : createReferenceEngine,
};

describe("one score a sample", () => {
  const random = createRandom(5);
  const x = random.tensor("float32", [count, 8]);
  let logits: readonly number[] = [];
  let classes: readonly number[] = [];
  beforeAll(async () => {
    logits = Array.from(numbersOf(await outputOf(single("logit"), x)));
    // Every tenth label is wrong: the float accuracy is known to the sample.
    classes = logits.map((z, i) => Number(z > 0) ^ Number(i % 10 === 0));
  });

  test.each([
    ["probability", "int64", [count]],
    ["probability", "float32", [count, 1]],
    ["logit", "bool", [count, 1]],
    ["flat logit", "uint8", [count]],
    ["logit", "float32", [count]],
  ] as const)("has an accuracy: %s, labels %s [%s]", async (form, dtype, shape) => {
    const labels = tensorOf(dtype as DType, shape, classes);
    const { metrics, top1, fidelity } = await run({ graph: single(form), x, labels, method: "ptq" });
    expect(top1.float).toBe(90);
    expect(fidelity).toBeUndefined();
    const sign = (i: number): number => (classes[i] === 1 ? 1 : -1);
    const loss = logits.reduce((sum, z, i) => sum + Math.log1p(Math.exp(-sign(i) * z)), 0) / count;
    expect(metrics.get("float")?.loss).toBeCloseTo(loss, 5);
    expect(metrics.get("deployed")?.top1).toBe(top1.quantized);
    expect([...metrics.values()].map(({ labels: kind }) => kind)).toEqual(Array(4).fill("binary"));
  });

  test.each(["reference", "onnxruntime", "native"] as const)(
    "trains by cross-entropy on the engine %s",
    async (name) => {
      const labels = tensorOf("int64", [count], classes);
      const given = { graph: single("probability"), x, labels, method: "efqat", options: training };
      const { training: record, metrics } = await run({ ...given, engine: engines[name]() });
      expectLossToFall(record?.losses ?? []);
      expect(metrics.get("trained")?.loss).toBeLessThan(Number(metrics.get("ptq")?.loss));
    },
  );
});

describe("a class for each position", () => {
  const random = createRandom(6);
  const x = random.tensor("float32", [count, 3, 6, 6]);
  let classes: readonly number[] = [];
  beforeAll(async () => {
    const scores = numbersOf(await outputOf(segmenter("last"), x));
    classes = Array.from({ length: count * 36 }, (_, i) => {
      const own = [0, 1, 2].map((each) => scores[3 * i + each]);
      const best = own.indexOf(Math.max(...own));
      return i % 12 === 0 ? 255 : i % 12 === 1 ? (best + 1) % 3 : best;
    });
  });

  test.each([
    ["first", "uint8", [count, 6, 6]],
    ["last", "int64", [count, 6, 6]],
    ["first", "int32", [count, 1, 6, 6]],
  ] as const)("has accuracy and mean IoU: channels %s, labels %s [%s]", async (layout, dtype, shape) => {
    const { metrics } = await run({
      graph: segmenter(layout),
      x,
      labels: tensorOf(dtype, shape, classes),
      method: "ptq",
    });
    const { top1, meanIou } = metrics.get("float") as Metrics;
    expect(top1).toBeCloseTo((100 * 10) / 11, 9);
    expect(meanIou).toBeGreaterThan(70);
    expect(meanIou).toBeLessThan((100 * 10) / 11);
    expect(metrics.get("deployed")?.top1).toBeGreaterThan(50);
  });

  test.each([
    ["first", "reference"],
    ["first", "onnxruntime"],
    ["first", "native"],
    ["last", "onnxruntime"],
    ["last", "native"],
  ] as const)("trains by cross-entropy: channels %s, engine %s", async (layout, name) => {
    const options = { ...training, epochs: 6 };
    const given = {
      graph: segmenter(layout),
      x,
      labels: tensorOf("uint8", [count, 6, 6], classes),
      method: "efqat",
      options,
    };
    const { training: record, metrics } = await run({ ...given, engine: engines[name]() });
    expectLossToFall(record?.losses ?? []);
    expect(metrics.get("trained")?.meanIou).toBeGreaterThan(Number(metrics.get("ptq")?.meanIou));
  });
});

describe("measured values", () => {
  const random = createRandom(7);
  const x = random.tensor("float32", [count, 8]);
  let wanted: readonly number[] = [];
  beforeAll(async () => {
    wanted = Array.from(
      numbersOf(await outputOf(single("logit"), x)),
      (value, i) => value + (i % 2 === 0 ? 0.5 : -0.5),
    );
  });

  test.each([[[count]], [[count, 1]]])("have an error by stage, beside the SQNR: labels [%s]", async (shape) => {
    const labels = tensorOf("float32", shape, wanted);
    const options = { ...training, loss: "mse", epochs: 6, lr: 0.01 };
    const { metrics, fidelity, top1 } = await run({ graph: single("logit"), x, labels, method: "efqat", options });
    expect(metrics.get("float")?.rmse).toBeCloseTo(0.5, 5);
    expect(metrics.get("float")?.mae).toBeCloseTo(0.5, 5);
    expect(top1.float).toBeNull();
    expect([...metrics.keys()]).toEqual(["float", "ptq", "trained", "quantized", "deployed"]);
    expect(metrics.get("trained")?.rmse).toBeLessThan(Number(metrics.get("ptq")?.rmse));
    expect(fidelity?.get("deployed")?.map(({ agreement }) => agreement)).toEqual([undefined]);
  });

  test.each(["int64", "float32"] as const)("of −1 and 1 alone are noted: they may be classes (%s)", async (dtype) => {
    onNote.mockClear();
    const signs = Array.from({ length: count }, (_, i) => (i % 3 === 0 ? -1 : 1));
    const { metrics } = await run({
      graph: single("logit"),
      x,
      labels: tensorOf(dtype, [count], signs),
      method: "ptq",
    });
    expect(metrics.get("float")?.labels).toBe("values");
    const note = /^The labels of "made" are −1 and 1, and are measured as values .* save them as 0 and 1/;
    expect(onNote.mock.calls.flat()).toContainEqual(expect.stringMatching(note));
    onNote.mockClear();
    await run({ graph: single("logit"), x, labels: tensorOf("float32", [count], wanted), method: "ptq" });
    expect(onNote.mock.calls.flat().filter((text) => note.test(text))).toEqual([]);
  });

  test("cannot train by cross-entropy", async () => {
    const labels = tensorOf("float32", [count], wanted);
    await expect(run({ graph: single("logit"), x, labels, method: "qat", options: { batch: 32 } })).rejects.toThrow(
      'The cross-entropy loss needs class indices; the labels of "made" are what the output should be. Train towards them with --loss mse',
    );
  });
});

describe("labels that fit no output", () => {
  const random = createRandom(8);
  const x = random.tensor("float32", [count, 8]);
  const oneHot = tensorOf(
    "int64",
    [count, 4],
    Array.from({ length: 4 * count }, (_, i) => Number(i % 4 === 0)),
  );
  const huge: Tensor = { dtype: "uint64", shape: [count], data: new BigUint64Array(count).fill(2n ** 64n - 1n) };
  const strange = [
    ["one-hot of another width", oneHot],
    ["beyond all classes", huge],
    ["no numbers", tensorOf("float32", [count], new Float32Array(count).fill(Number.NaN))],
    ["of another shape", tensorOf("int16", [count, 5, 2], new Int16Array(count * 10).fill(3))],
  ] as const;

  test.each(strange)("are not asked for by ptq, which says so: %s", async (_, labels) => {
    onNote.mockClear();
    const { top1, fidelity } = await run({ graph: single("probability"), x, labels, method: "ptq" });
    expect(top1.deployed).toBeNull();
    expect(fidelity?.get("deployed")?.[0].sqnrDb).toBeGreaterThan(0);
    expect(onNote.mock.calls.flat()).toContainEqual(
      expect.stringMatching(
        /^The labels of "made" are not used: .* What is measured is the distance to the float model\.$/,
      ),
    );
  });

  test.each(strange)("are refused where they train: %s", async (_, labels) => {
    const given = { graph: single("probability"), x, labels, method: "qat", options: { batch: 32 } };
    await expect(run(given)).rejects.toThrow(
      /^The cross-entropy loss needs class indices; the labels of "made" cannot be used: /,
    );
  });
});

describe("a file", () => {
  const random = createRandom(9);
  const x = random.tensor("float32", [70, 8]);
  let file: ModelFile;
  beforeAll(async () => {
    file = await openDeployed(writeOnnx({ graph: single("probability"), origin: tinyOrigin }, { opset: 13 }), {
      threads: 1,
    });
  });
  afterAll(() => file.dispose());

  test("is evaluated against labels of either kind", async () => {
    const values = numbersOf(await outputOf(single("probability"), x));
    const evaluate = (labels: Tensor) =>
      evaluateModel(file, memoryDataset("made", new Map([["x", x]]), labels), {
        preprocess: resolvePreprocess("none"),
      });
    const binary = await evaluate(
      tensorOf(
        "bool",
        [70],
        Array.from(values, (value) => Number(value > 0.5)),
      ),
    );
    expect([binary.labels, binary.top1, binary.classes]).toEqual(["binary", 100, 2]);
    const measured = await evaluate(
      tensorOf(
        "float32",
        [70],
        Array.from(values, (value) => value + 0.25),
      ),
    );
    expect([measured.labels, measured.top1]).toEqual(["values", null]);
    expect(measured.rmse).toBeCloseTo(0.25, 6);
    expect(sizeOf([measured.samples])).toBe(70);
  });
});
