// What several processes share besides training steps, all of them in this one: calibration, statistics, evaluation. Whole runs on
// the reference engine leave the bytes and figures of one process, and no process evaluates what another one does.
import { describe, expect, test } from "vitest";
import type { Dataset } from "../../src/data/dataset.ts";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import type { Communicator } from "../../src/distributed/communicator.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { areaUnderCurve, topK } from "../../src/evaluate/known-metrics.ts";
import type { OwnMetric } from "../../src/evaluate/own-metric.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { runOptions } from "../../src/options/recipe.ts";
import type { QuantizeOutcome } from "../../src/quantize/outcome.ts";
import { assist, quantizeSharing } from "../../src/quantize/quantize-model.ts";
import { inMemoryCommunicators } from "../support/in-memory-ranks.ts";
import { createRandom, type Random } from "../support/random.ts";
import { drawSentences, sentenceClassifier } from "../support/sentences.ts";
import { tinyBatch, tinyClassifier, tinyOrigin } from "../support/tiny-classifier.ts";

const preprocess = resolvePreprocess("none");
/** Not a multiple of the batch: five batches, the last of which is not full. */
const testSamples = 270;

interface Subject {
  readonly graph: Graph;
  readonly train: Dataset;
  readonly test: Dataset;
}

/** With normalizations. */
function network(): Subject {
  const [train, test] = [200, testSamples].map((count, i) => {
    const { images, labels } = tinyBatch("float32", count, i);
    return memoryDataset(i === 0 ? "train" : "test", new Map([["input", images]]), labels);
  });
  return { graph: tinyClassifier("float32"), train, test };
}

/** Three inputs, a layer with a normalization before it, and so many outputs; `labelsOf`: what they should be of so many samples. */
function layers(outputs: number, labelsOf: (count: number, random: Random) => Tensor | undefined): Subject {
  const random = createRandom(5);
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 3] });
  const [w, v] = [
    [3, 8],
    [8, outputs],
  ].map((shape, i) => build.constant(random.uniformTensor("float32", shape, -1, 1), `weight${i}`));
  const scale = build.constant(random.uniformTensor("float32", [8], 0.5, 2), "scale");
  const normalized = build.node("LayerNormalization", [build.node("MatMul", [x, w]), scale], {}, "hidden");
  const graph = build.graph([build.node("MatMul", [normalized, v], {}, "y")]);
  const dataset = (name: string, count: number): Dataset => {
    const inputs = new Map([["x", random.uniformTensor("float32", [count, 3], -2, 2)]]);
    return memoryDataset(name, inputs, labelsOf(count, random));
  };
  return { graph, train: dataset("train", 200), test: dataset("test", testSamples) };
}

const classesOf =
  (classes: number) =>
  (count: number): Tensor =>
    tensorOf(
      "int64",
      [count],
      Array.from({ length: count }, (_, i) => i % classes),
    );
const classifier = (): Subject => layers(4, classesOf(4));
const regression = (): Subject => layers(2, (count, random) => random.uniformTensor("float32", [count, 2], -1, 1));

/** A class of four for each of three positions. */
function positions(): Subject {
  const labelled = layers(12, (count) =>
    tensorOf(
      "int64",
      [count, 3],
      Array.from({ length: 3 * count }, (_, i) => (i * i) % 4),
    ),
  );
  const build = buildOn(labelled.graph);
  return { ...labelled, graph: build.graph([build.node("Reshape", ["y", build.ints([-1, 4, 3])], {}, "classes")]) };
}

interface Run extends Subject {
  readonly recipe: Readonly<Record<string, unknown>>;
  readonly metric?: OwnMetric;
}

/** Run by so many processes: what the first leaves, and how many test samples each has read. */
async function ranAmong(size: number, { graph, train, test: all, recipe, metric }: Run) {
  const ranks = size === 1 ? [undefined] : await inMemoryCommunicators(size);
  const read = ranks.map(() => 0);
  const runs = ranks.map((communicator: Communicator | undefined, rank) => {
    const counted: Dataset = {
      ...all,
      read: (indices) => {
        read[rank] = (read[rank] ?? 0) + indices.length;
        return all.read(indices);
      },
    };
    const job = {
      model: { graph, origin: tinyOrigin },
      source: { train, test: counted, heldOut: false },
      preprocess,
      options: runOptions.parse(recipe),
      openDeployed: (model: Uint8Array | string) => openDeployed(model, { threads: 1, spinning: false }),
      ...(metric && { metric }),
    };
    const context = { engine: createReferenceEngine(), seed: 0, ...(communicator && { communicator }) };
    return rank === 0 ? quantizeSharing(job, context, {}) : assist(job, context);
  });
  const [outcome] = await Promise.all(runs);
  return { outcome: outcome as QuantizeOutcome, read };
}

const figures = ({ bytes, metrics, fidelity, training, losses, outputs }: QuantizeOutcome) => ({
  bytes,
  metrics,
  fidelity,
  losses: [training?.losses, losses],
  outputs,
});

const ptq = (quantize: object) => ({ quantize, methods: ["ptq"], accuracies: "all" });
const training = { steps: 2, batch: 32, accumulate: 8, reestimateStatistics: 150, validationShare: 0.4 };
const runs: Readonly<Record<string, () => Run>> = {
  ...Object.fromEntries(
    ["min-max", "moving-average", "percentile", "mse", "lp", "entropy"].map((observer) => [
      `observer ${observer}`,
      () => ({ ...classifier(), recipe: ptq({ observer, calibrationSamples: 200, activations: 4 }) }),
    ]),
  ),
  "smooth-quant": () => ({ ...classifier(), recipe: { methods: ["smooth-quant"] } }),
  "bias-correction": () => ({ ...classifier(), recipe: { methods: ["bias-correction"] } }),
  codebooks: () => ({ ...classifier(), recipe: ptq({ weightGrid: "codebook" }) }),
  "training, statistics estimated again, samples held out": () => ({
    ...network(),
    recipe: { methods: [{ qat: training }] },
  }),
  "training on sentences of similar length": () => ({
    graph: sentenceClassifier(),
    train: drawSentences(200),
    test: drawSentences(testSamples, 6),
    recipe: { methods: [{ qat: { steps: 8, batch: 32, accumulate: 8 } }] },
  }),
  "a label for each position": () => ({ ...positions(), recipe: ptq({}) }),
  "measured values": () => ({ ...regression(), recipe: ptq({}) }),
  "no labels, distances alone": () => ({ ...layers(6, () => undefined), recipe: ptq({}) }),
  "a metric of each sample": () => ({
    ...classifier(),
    metric: topK(2),
    recipe: ptq({}),
  }),
};

describe.each(Object.entries(runs))("%s", (_, runOf) => {
  test("has the bytes and figures of one process with 2, 4 and 8", async () => {
    const run = runOf();
    const one = await ranAmong(1, run);
    const stages = Math.max(one.outcome.metrics.size, one.outcome.fidelity?.size ?? 0);
    expect(stages).toBeGreaterThan(1);
    for (const size of [2, 4, 8]) {
      const { outcome, read } = await ranAmong(size, run);
      expect(figures(outcome)).toEqual(figures(one.outcome));
      // Of each stage, those that process 0 evaluates are read by no other.
      const others = read.slice(1).reduce((sum, count) => sum + count, 0);
      expect(others).toBeGreaterThan(0);
      expect(others).toBeLessThan((stages + 1) * testSamples);
    }
  });
});

test("a metric of all samples together sees all of them, in each process", async () => {
  const run: Run = { ...layers(1, classesOf(2)), metric: areaUnderCurve, recipe: ptq({}) };
  const [one, two] = [await ranAmong(1, run), await ranAmong(2, run)];
  expect(figures(two.outcome)).toEqual(figures(one.outcome));
  expect(one.outcome.metrics.get("deployed")?.metric?.value).toBeGreaterThan(0);
});
