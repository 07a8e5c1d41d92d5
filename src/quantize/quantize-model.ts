// The whole run: calibrate, quantize, train, fold, export, verify, measure.
import { calibrate } from "../calibration/calibrate.ts";
import { augmentations } from "../data/augment.ts";
import { type Batch, batches } from "../data/batches.ts";
import { type Dataset, limit, matchInputs, type Source } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { shuffledOrder } from "../data/sampler.ts";
import type { Storage } from "../data/storage.ts";
import { difference, joinDifferences, noDifference, sqnrDb } from "../evaluate/difference.ts";
import { evaluateGraph } from "../evaluate/evaluate-graph.ts";
import { measureLatency } from "../evaluate/latency.ts";
import { type Accuracy, accuracyOf, addScores, emptyScore } from "../evaluate/score.ts";
import { type Exported, exportQdq } from "../export/qdq.ts";
import { checkVerification, type OpenDeployed, type Verification, verifyExport } from "../export/verify.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { type Graph, type OnnxModel, producers } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { methods } from "../methods/index.ts";
import { writeOnnx } from "../onnx/write.ts";
import { freeBatch } from "../passes/free-batch.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { type Folded, foldQuantizers } from "../quantizers/fold.ts";
import { insertQuantizers } from "../quantizers/insert.ts";
import { findSites } from "../quantizers/sites.ts";
import type { Context } from "../training/context.ts";
import type { PlanSource, TrainingResult } from "../training/loop.ts";
import { train } from "../training/loop.ts";
import { logitsOf } from "../training/loss.ts";
import type { RunOptions } from "./options.ts";

export interface QuantizeJob {
  readonly model: OnnxModel;
  readonly source: Source;
  readonly preprocess: Preprocess;
  readonly options: RunOptions;
  readonly openDeployed: OpenDeployed;
  readonly checkpoints?: { readonly storage: Storage; readonly fingerprint: string; readonly resume: boolean };
}

export interface Top1 {
  readonly float: number | null;
  readonly ptq: number | null;
  readonly trained: number | null;
  readonly quantized: number | null;
  readonly deployed: number | null;
}

export interface Latency {
  readonly batch1: number;
  readonly batch256: number;
}

export interface QuantizeOutcome {
  /** The exported file, verified. */
  readonly bytes: Uint8Array;
  readonly opset: number;
  readonly float: Graph;
  /** The model with its quantizers as trained, normalization unfolded; the float model again for method "float". */
  readonly trained: Graph;
  readonly top1: Top1;
  readonly training: TrainingResult | undefined;
  readonly verification: Verification | undefined;
  /** By layer: SQNR of its output in the quantized model against the float model, dB. */
  readonly layerSqnrDb: ReadonlyMap<string, number>;
  readonly latencyMs: { readonly float: Latency; readonly deployed: Latency };
  readonly seconds: { readonly calibration: number; readonly training: number; readonly evaluation: number };
  readonly trainSamples: number;
  readonly testSamples: number;
}

const verificationSamples = 256;

/** Throws VERIFICATION if the exported file does not do in the runtime what was trained; nothing is written here. */
export async function quantizeModel(job: QuantizeJob, context: Context): Promise<QuantizeOutcome> {
  const clock = { calibration: 0, training: 0, evaluation: 0 };
  const timed = async <T>(part: keyof typeof clock, work: () => Promise<T>): Promise<T> => {
    const start = performance.now();
    const result = await work();
    clock[part] += (performance.now() - start) / 1000;
    return result;
  };
  const float = freeBatch(job.model.graph).graph;
  const data = dataFor(job, float);
  const evaluate = (graph: Graph, phase: string): Promise<number | null> =>
    timed("evaluation", async () =>
      data.test.hasLabels ? (await evaluateGraph(graph, data.test, job.preprocess, context, phase)).top1 : null,
    );
  const floatTop1 = await evaluate(float, "evaluate float");
  const start =
    job.options.method === "float"
      ? float
      : await timed("calibration", () => quantizeFloat(job, float, data.train, context));
  const ptqTop1 = job.options.method === "float" ? null : await evaluate(start, "evaluate ptq");
  const training =
    job.options.method === "ptq"
      ? undefined
      : await timed("training", () => trainModel(job, start, float, data.train, context));
  const trained = training?.model ?? start;
  const trainedTop1 = training ? await evaluate(trained, "evaluate trained") : ptqTop1;
  const samples = await takeBatches(data.test, job.preprocess, verificationSamples);
  const result = await timed("evaluation", () => exportAndVerify(job, trained, samples, context));
  const quantizedTop1 = result.folded ? await evaluate(result.folded.graph, "evaluate quantized") : null;
  const deployed = await job.openDeployed(result.bytes);
  const original = await job.openDeployed(writeOnnx({ ...job.model, graph: float }, { opset: job.model.origin.opset }));
  try {
    const deployedTop1 = data.test.hasLabels
      ? await timed("evaluation", () => evaluateDeployed(deployed, trained, data.test, job.preprocess, context))
      : undefined;
    return {
      bytes: result.bytes,
      opset: result.opset,
      float,
      trained,
      top1: {
        float: floatTop1,
        ptq: ptqTop1,
        trained: trainedTop1,
        quantized: quantizedTop1,
        deployed: deployedTop1?.top1 ?? null,
      },
      training,
      verification: result.verification,
      layerSqnrDb: result.folded
        ? await timed("evaluation", () => layerSqnr(float, result.folded, samples, context))
        : new Map(),
      latencyMs: await timed("evaluation", () => latencies(original, deployed, data.test, job.preprocess)),
      seconds: clock,
      trainSamples: data.train.length,
      testSamples: data.test.length,
    };
  } finally {
    await Promise.all([deployed.dispose(), original.dispose()]);
  }
}

function dataFor(job: QuantizeJob, graph: Graph): { train: Dataset; test: Dataset } {
  const most = job.options.limit ?? Number.POSITIVE_INFINITY;
  return {
    train: limit(matchInputs(job.source.train, graph), most),
    test: limit(matchInputs(job.source.test, graph), most),
  };
}

/** Post-training quantization: ranges from a seeded sample of the training data. */
async function quantizeFloat(job: QuantizeJob, float: Graph, dataset: Dataset, context: Context): Promise<Graph> {
  const { options } = job;
  const sites = findSites(float, options);
  if (sites.weights.length === 0)
    throw new FrostbitError(
      "BAD_MODEL",
      "The model has no layer to quantize: no Conv, Gemm or MatMul with a constant weight that --layers leaves to be quantized.",
    );
  const count = Math.min(options.calibrationSamples, dataset.length);
  const order = shuffledOrder(dataset.length, options.seed, -1).slice(0, count);
  async function* calibrationBatches(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
    for await (const batch of batches(dataset, { batchSize: 64, preprocess: job.preprocess, order }))
      yield batch.inputs;
  }
  const qparams = await calibrate(
    float,
    sites,
    calibrationBatches,
    { observer: options.observer, calibrationSamples: count },
    context,
  );
  return insertQuantizers(float, sites, qparams);
}

async function trainModel(
  job: QuantizeJob,
  start: Graph,
  float: Graph,
  dataset: Dataset,
  context: Context,
): Promise<TrainingResult> {
  const { options } = job;
  if (options.loss === "cross-entropy" && !dataset.hasLabels)
    throw new FrostbitError(
      "BAD_DATA",
      `Dataset "${dataset.name}" has no labels, which the cross-entropy loss needs. Give labels, or use --loss distill.`,
    );
  const perEpoch = Math.floor(dataset.length / options.batch);
  if (perEpoch === 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `batch is ${options.batch}, but the training data has ${dataset.length} samples. Choose a smaller --batch.`,
    );
  const steps = options.steps ?? Math.max(1, Math.round(options.epochs * perEpoch));
  return train(
    {
      model: start,
      ...(options.loss === "distill" ? { teacher: float } : {}),
      options,
      plan: planSource(job, start),
      steps,
      batches: (from) => trainingBatches(job, dataset, perEpoch, from),
      ...(job.checkpoints ? { checkpoints: job.checkpoints } : {}),
    },
    context,
  );
}

function planSource(job: QuantizeJob, graph: Graph): PlanSource {
  const { method } = job.options;
  assert(method !== "ptq", "ptq trains nothing");
  return methods[method](graph, job.options);
}

/** Full batches from step `from` on, epoch after epoch, each in an order of its own. */
async function* trainingBatches(
  job: QuantizeJob,
  dataset: Dataset,
  perEpoch: number,
  from: number,
): AsyncGenerator<Batch> {
  const { options, preprocess } = job;
  const operations = augmentations.filter((name) => options.augment.includes(name));
  for (let epoch = Math.floor(from / perEpoch); ; epoch++) {
    yield* batches(dataset, {
      batchSize: options.batch,
      preprocess,
      order: shuffledOrder(dataset.length, options.seed, epoch),
      augment: { operations, seed: options.seed, epoch },
      dropLast: true,
      start: epoch === Math.floor(from / perEpoch) ? from % perEpoch : 0,
    });
  }
}

async function takeBatches(
  dataset: Dataset,
  preprocess: Preprocess,
  count: number,
): Promise<readonly ReadonlyMap<string, Tensor>[]> {
  const result: ReadonlyMap<string, Tensor>[] = [];
  for await (const batch of batches(limit(dataset, count), { batchSize: 64, preprocess })) result.push(batch.inputs);
  return result;
}

interface ExportResult {
  readonly bytes: Uint8Array;
  readonly opset: number;
  readonly folded: Folded | undefined;
  readonly verification: Verification | undefined;
}

async function exportAndVerify(
  job: QuantizeJob,
  trained: Graph,
  samples: readonly ReadonlyMap<string, Tensor>[],
  context: Context,
): Promise<ExportResult> {
  const { origin } = job.model;
  if (job.options.method === "float")
    return {
      bytes: writeOnnx({ graph: trained, origin }, { opset: origin.opset }),
      opset: origin.opset,
      folded: undefined,
      verification: undefined,
    };
  const folded = foldQuantizers(trained, job.options.placement === "runtime" ? "int32" : "float");
  const exported: Exported = exportQdq(folded, origin, job.options.storage);
  const bytes = writeOnnx(exported.model, { opset: exported.opset });
  const verification = await verifyExport(folded, exported, bytes, samples, job.openDeployed, context);
  checkVerification(verification);
  return { bytes, opset: exported.opset, folded, verification };
}

type Deployed = Awaited<ReturnType<OpenDeployed>>;

async function evaluateDeployed(
  deployed: Deployed,
  graph: Graph,
  dataset: Dataset,
  preprocess: Preprocess,
  context: Context,
): Promise<Accuracy> {
  const score = emptyScore();
  const output = graph.outputs[0];
  const areProbabilities = logitsOf(graph) !== output;
  for await (const batch of batches(dataset, { batchSize: 256, preprocess })) {
    const scores = (await deployed.run(batch.inputs, [output])).get(output);
    assert(scores && batch.labels, "deployed run without scores or labels");
    addScores(score, scores, batch.labels, areProbabilities);
    context.onProgress?.({
      phase: "evaluate deployed",
      done: score.samples,
      total: dataset.length,
      note: `top-1 ${accuracyOf(score).top1.toFixed(2)} %`,
    });
  }
  return accuracyOf(score);
}

/** Each layer's output, normalization included, in the folded graph against the float model. */
async function layerSqnr(
  float: Graph,
  folded: Folded | undefined,
  samples: readonly ReadonlyMap<string, Tensor>[],
  context: Context,
): Promise<ReadonlyMap<string, number>> {
  if (!folded) return new Map();
  const inFloat = producers(float);
  const made = new Map(folded.graph.nodes.map((node) => [node.name, node]));
  const outputs = new Map(
    folded.layers
      .map(({ name, node }) => [name, (made.get(`${name}.bias_add`) ?? made.get(node))?.outputs[0] ?? ""] as const)
      .filter(([, value]) => inFloat.has(value)),
  );
  const values = [...outputs.values()];
  const totals = new Map(values.map((value) => [value, noDifference]));
  const references = await runAll(float, values, samples, context);
  const actuals = await runAll(folded.graph, values, samples, context);
  for (const [i, reference] of references.entries())
    for (const value of values) {
      const [a, b] = [reference.get(value), actuals[i].get(value)];
      assert(a && b, `layer output "${value}" is missing`);
      totals.set(value, joinDifferences(totals.get(value) ?? noDifference, difference(numbersOf(a), numbersOf(b))));
    }
  return new Map([...outputs].map(([name, value]) => [name, sqnrDb(totals.get(value) ?? noDifference)]));
}

async function runAll(
  graph: Graph,
  outputs: readonly string[],
  samples: readonly ReadonlyMap<string, Tensor>[],
  context: Context,
): Promise<ReadonlyMap<string, Tensor>[]> {
  const executable = await context.engine.compile(
    removeDeadNodes({ ...graph, outputs }),
    context.threads === undefined ? {} : { threads: context.threads },
  );
  try {
    const program = executable.bind(await context.engine.variables(new Map()));
    const results: ReadonlyMap<string, Tensor>[] = [];
    for (const inputs of samples) results.push(await program.run(inputs));
    return results;
  } finally {
    await executable.dispose();
  }
}

async function latencies(
  float: Deployed,
  deployed: Deployed,
  dataset: Dataset,
  preprocess: Preprocess,
): Promise<QuantizeOutcome["latencyMs"]> {
  const measure = async (batchSize: number): Promise<readonly number[]> => {
    const order = Int32Array.from({ length: batchSize }, (_, i) => i % dataset.length);
    const { value } = await batches(dataset, { batchSize, preprocess, order }).next();
    assert(value, "no samples to time");
    return measureLatency([float, deployed], value.inputs, batchSize === 1 ? { most: 200, budgetMs: 1000 } : {});
  };
  const [one, many] = [await measure(1), await measure(256)];
  return { float: { batch1: one[0], batch256: many[0] }, deployed: { batch1: one[1], batch256: many[1] } };
}
