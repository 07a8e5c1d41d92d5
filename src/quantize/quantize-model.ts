// The whole run: calibrate, quantize, train, fold, export, verify, measure.
import { batches } from "../data/batches.ts";
import { type Dataset, limit } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { batchThatFits } from "../evaluate/batch-that-fits.ts";
import { evaluateGraph } from "../evaluate/evaluate-graph.ts";
import { evaluateModel } from "../evaluate/evaluate-model.ts";
import { measureLatency } from "../evaluate/latency.ts";
import { layerSqnr } from "../evaluate/layer-sqnr.ts";
import { datasetFor, type ModelFile } from "../evaluate/model-file.ts";
import { nearChanceHint } from "../evaluate/near-chance.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph, ValueType } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { freeBatch } from "../passes/free-batch.ts";
import type { Folded } from "../quantizers/fold.ts";
import { recognizeQuantizers } from "../quantizers/recognize.ts";
import { loadCheckpoint } from "../training/checkpoint.ts";
import type { Context } from "../training/context.ts";
import type { TrainingResult } from "../training/loop.ts";
import { classesOf, logitsOf } from "../training/loss.ts";
import { type ModelVerification, verifyModel, writeModel } from "./export-model.ts";
import type { QuantizeJob } from "./job.ts";
import { prepareFloat, quantizeFloat, sitesOf } from "./quantize-float.ts";
import { stepsPerEpoch, trainModel } from "./train-model.ts";

/** Per cent; null where it was not measured or there are no labels. */
export interface Top1 {
  readonly float: number | null;
  readonly ptq: number | null;
  readonly trained: number | null;
  readonly quantized: number | null;
  readonly deployed: number | null;
}

/** Milliseconds. */
export interface Latency {
  readonly batch1: number;
  readonly batch256: number;
}

export interface QuantizeOutcome {
  /** The exported file, verified. */
  readonly bytes: Uint8Array;
  /** The model with its quantizers as trained, normalization unfolded; of method "float" the float model. */
  readonly trained: Graph;
  readonly top1: Top1;
  readonly training: TrainingResult | undefined;
  readonly verification: ModelVerification | undefined;
  /** By layer: SQNR of its output in the quantized model against the float model, dB. */
  readonly layerSqnrDb: ReadonlyMap<string, number>;
  readonly latencyMs: { readonly float: Latency; readonly deployed: Latency };
  readonly seconds: { readonly calibration: number; readonly training: number; readonly evaluation: number };
  readonly trainSamples: number;
  readonly testSamples: number;
}

const verificationSamples = 256;

/** Throws VERIFICATION if the exported file does not do in the runtime what was trained; writes no file. */
export async function quantizeModel(job: QuantizeJob, context: Context): Promise<QuantizeOutcome> {
  const { method } = job.options;
  const clock = createClock();
  const float = withFreeBatch(job.model.graph);
  const original = writeOnnx({ ...job.model, graph: float }, { opset: Math.max(job.model.origin.opset, 13) });
  const train = dataFor(job, job.source.train, float);
  const test = dataFor(job, job.source.test, float);
  const quantizable = method === "float" ? float : recognizeQuantizers(float);
  await checkEarly(job, quantizable, train);
  const evaluate = (graph: Graph, name: string): Promise<number | null> =>
    clock.time("evaluation", () => top1Of(graph, test, job.preprocess, context, name));

  const floatTop1 = await evaluate(float, "float");
  const hint = floatTop1 === null ? undefined : nearChanceHint(floatTop1, classesOf(float), test.length);
  if (hint !== undefined) context.onNote?.(hint);
  const prepared = method === "float" ? float : prepareFloat(quantizable, job.options, context);
  const start =
    method === "float" ? float : await clock.time("calibration", () => quantizeFloat(job, prepared, train, context));
  writeModel(job.model, start, job.options);
  const ptqTop1 = method === "float" ? null : await evaluate(start, "ptq");
  const training =
    method === "ptq"
      ? undefined
      : await clock.time("training", () => trainModel(job, method, start, float, train, context));
  const trained = training?.model ?? start;
  const trainedTop1 = training ? await evaluate(trained, "trained") : ptqTop1;

  const written = writeModel(job.model, trained, job.options);
  const folded = written.quantized?.folded;
  const samples = await takeBatches(test, job.preprocess, verificationSamples, batchThatFits(float, 64));
  const verification = await clock.time("evaluation", () => verifyModel(written, trained, samples, job, context));
  const quantizedTop1 = folded ? await evaluate(folded.graph, "quantized") : null;
  const measured = await clock.time("evaluation", () =>
    measureDeployed(job, float, original, written.bytes, test, context),
  );
  const layerSqnrDb = folded
    ? await clock.time("evaluation", () =>
        layerSqnr(prepared === quantizable ? float : prepared, folded.graph, layerOutputs(folded), samples, context),
      )
    : new Map<string, number>();
  return {
    bytes: written.bytes,
    trained,
    top1: { float: floatTop1, ptq: ptqTop1, trained: trainedTop1, quantized: quantizedTop1, deployed: measured.top1 },
    training,
    verification,
    layerSqnrDb,
    latencyMs: measured.latencyMs,
    seconds: clock.seconds,
    trainSamples: train.length,
    testSamples: test.length,
  };
}

/** What can be known to be wrong before anything is computed. */
async function checkEarly({ options, checkpoints }: QuantizeJob, float: Graph, train: Dataset): Promise<void> {
  if (options.method !== "float") sitesOf(float, options);
  if (options.method === "ptq") return;
  logitsOf(float);
  stepsPerEpoch({ options }, train);
  if (checkpoints?.resume) await loadCheckpoint(checkpoints.storage, checkpoints.fingerprint);
}

interface Clock {
  readonly seconds: Record<"calibration" | "training" | "evaluation", number>;
  readonly time: <T>(part: keyof Clock["seconds"], work: () => Promise<T>) => Promise<T>;
}

function createClock(): Clock {
  const seconds = { calibration: 0, training: 0, evaluation: 0 };
  return {
    seconds,
    time: async (part, work) => {
      const start = performance.now();
      const result = await work();
      seconds[part] += (performance.now() - start) / 1000;
      return result;
    },
  };
}

/** Training and evaluation run many samples at once; throws BAD_MODEL, saying why, where the model cannot. */
function withFreeBatch(graph: Graph): Graph {
  const result = freeBatch(graph);
  const [input] = graph.inputs;
  const leading = result.graph.values.get(input)?.shape[0];
  if (typeof leading !== "number") return result.graph;
  throw new FrostbitError(
    "BAD_MODEL",
    `The model takes ${leading} sample${leading === 1 ? "" : "s"} at a time, and its batch cannot be made free: ${result.reason ?? ""} Export it with a dynamic batch dimension.`,
  );
}

/** As many of the dataset's samples as `limit` says. Throws BAD_DATA where it does not fit the model. */
const dataFor = ({ options, preprocess }: QuantizeJob, dataset: Dataset, graph: Graph): Dataset =>
  limit(
    datasetFor(
      { inputs: new Map(graph.inputs.map((name) => [name, graph.values.get(name) as ValueType])) },
      dataset,
      preprocess,
    ),
    options.limit ?? Number.POSITIVE_INFINITY,
  );

async function top1Of(
  graph: Graph,
  dataset: Dataset,
  preprocess: Preprocess,
  context: Context,
  name: string,
): Promise<number | null> {
  return dataset.hasLabels ? (await evaluateGraph(graph, dataset, preprocess, context, `evaluate ${name}`)).top1 : null;
}

async function takeBatches(
  dataset: Dataset,
  preprocess: Preprocess,
  count: number,
  batchSize: number,
): Promise<readonly ReadonlyMap<string, Tensor>[]> {
  const result: ReadonlyMap<string, Tensor>[] = [];
  for await (const batch of batches(limit(dataset, count), { batchSize, preprocess })) result.push(batch.inputs);
  return result;
}

/** What each layer gives, bias and normalization included, by layer. */
function layerOutputs({ graph, layers }: Folded): ReadonlyMap<string, string> {
  const made = new Map(graph.nodes.map((node) => [node.name, node]));
  return new Map(
    layers.map(({ name, node }) => [name, (made.get(`${name}.bias_add`) ?? made.get(node))?.outputs[0] ?? ""]),
  );
}

/** Accuracy of the exported file in ONNX Runtime, and its latency in turn with the float model's. */
async function measureDeployed(
  job: QuantizeJob,
  graph: Graph,
  float: Uint8Array,
  bytes: Uint8Array,
  dataset: Dataset,
  context: Context,
): Promise<Pick<QuantizeOutcome, "latencyMs"> & { top1: number | null }> {
  const original = await job.openDeployed(float);
  const deployed = await job.openDeployed(bytes);
  const { onProgress, signal } = context;
  const part = batchThatFits(graph, 256);
  try {
    const options = {
      preprocess: job.preprocess,
      phase: "evaluate deployed",
      ...(onProgress ? { onProgress } : {}),
      ...(signal ? { signal } : {}),
    };
    const top1 = dataset.hasLabels ? (await evaluateModel(deployed, dataset, options)).top1 : null;
    return { top1, latencyMs: await latencies(original, deployed, dataset, job.preprocess, part) };
  } finally {
    await Promise.all([deployed.dispose(), original.dispose()]);
  }
}

/** A batch of 256 runs in parts where memory does not hold it at once. */
async function latencies(
  float: ModelFile,
  deployed: ModelFile,
  dataset: Dataset,
  preprocess: Preprocess,
  part: number,
): Promise<QuantizeOutcome["latencyMs"]> {
  const measure = async (batchSize: number): Promise<readonly number[]> => {
    const order = Int32Array.from({ length: batchSize }, (_, i) => i % dataset.length);
    const parts: ReadonlyMap<string, Tensor>[] = [];
    for await (const { inputs } of batches(dataset, { batchSize: part, preprocess, order })) parts.push(inputs);
    const options = batchSize === 1 ? { most: 200, budgetMs: 1000 } : {};
    return measureLatency([float, deployed], parts, options);
  };
  const [one, many] = [await measure(1), await measure(256)];
  return {
    float: { batch1: one[0], batch256: many[0] },
    deployed: { batch1: one[1], batch256: many[1] },
  };
}
