// What a model file is worth against labels, as `frostbit evaluate` measures it.
import { type Dataset, limit } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import type { Communicator } from "../distributed/communicator.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { measureFile } from "../evaluate/evaluate-model.ts";
import { signsHint } from "../evaluate/label-use.ts";
import type { Metrics } from "../evaluate/metrics.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import { nearChanceHint } from "../evaluate/near-chance.ts";
import { noNumberHint, type OwnMetric } from "../evaluate/own-metric.ts";
import { sameLabelHint } from "../evaluate/same-label.ts";
import { checkCounts, checkGiven, checkNames } from "../ir/check-options.ts";
import { assert } from "../ir/errors.ts";
import type { Progress } from "../run/context.ts";
import { outOfMemory } from "../run/out-of-memory.ts";
import { agreeOnEvaluation } from "./agree-on-evaluation.ts";
import { batchWithin, withinMemory } from "./memory-budget.ts";
import { checkModelFile, readModel } from "./read-model.ts";

/** What `evaluateFile` is given. */
export interface EvaluateFileJob {
  /** An ONNX file. */
  readonly modelPath: string;
  /** What is measured on: `openTestData` opens it. */
  readonly dataset: Dataset;
  /** What the model was trained on: `resolvePreprocess`. */
  readonly preprocess: Preprocess;
  /** What the outputs are worth, instead of what the labels choose: `openMetric` opens it. */
  readonly metric?: OwnMetric;
  /** The output that the labels are of; by default the first. */
  readonly output?: string;
  /** Use only as many samples, the first. */
  readonly limit?: number;
  /** CPU threads, 1 or more; ONNX Runtime's own choice where absent. */
  readonly threads?: number;
  /** Megabytes that the process may take: batches are as large as that lets them be, and more than it ends the call. */
  readonly maxMemory?: number;
  /** Stops between two batches: the call then throws ABORTED. */
  readonly signal?: AbortSignal;
  /** Called after each batch. */
  readonly onProgress?: (progress: Progress) => void;
  /** What the user should know, in a sentence. */
  readonly onNote?: (note: string) => void;
}

/** All of them: the compiler names what is forgotten. */
const fields = Object.keys({
  modelPath: true,
  dataset: true,
  preprocess: true,
  metric: true,
  output: true,
  limit: true,
  threads: true,
  maxMemory: true,
  signal: true,
  onProgress: true,
  onNote: true,
} satisfies Record<keyof EvaluateFileJob, true>);

/**
 * What a file is worth in ONNX Runtime, with its default optimizations: accuracy and loss against class indices, or the error
 * against measured values. What the command `evaluate` does. Throws BAD_OPTION, BAD_DATA where the labels do not fit the output,
 * BAD_MODEL, IO, MEMORY where there is not enough, and ABORTED after `signal`.
 *
 * @example
 * const { top1 } = await evaluateFile({
 *   modelPath: "out/model.onnx",
 *   dataset: await openTestData("cifar10:cifar-10-batches-bin"),
 *   preprocess: resolvePreprocess("imagenet"),
 * });
 */
export async function evaluateFile(job: EvaluateFileJob): Promise<Metrics> {
  const { modelPath, dataset, preprocess, threads, limit: most } = job;
  checkNames("evaluateFile", job, fields);
  checkGiven("evaluateFile", { modelPath, dataset, preprocess });
  checkCounts("evaluateFile", { threads, limit: most, maxMemory: job.maxMemory });
  checkModelFile(modelPath);
  const file = await openDeployed(modelPath, { spinning: false, ...(threads === undefined ? {} : { threads }) });
  try {
    return await evaluateOpened(file, job);
  } catch (error) {
    throw outOfMemory(error) ?? error;
  } finally {
    await file.dispose();
  }
}

type OpenedJob = Omit<EvaluateFileJob, "threads">;

/** The same of a file that is open. */
export async function evaluateOpened(file: ModelFile, job: OpenedJob): Promise<Metrics> {
  const metrics = await metricsOf(file, job);
  assert(metrics, "evaluation of no samples");
  return metrics;
}

/** As one of several processes that each call it and share the batches: the first one gives the metrics, as those with a batch do. */
export async function evaluateOpenedAmong(
  file: ModelFile,
  job: EvaluateFileJob,
  communicator: Communicator,
): Promise<Metrics | undefined> {
  const { modelPath, preprocess, threads, metric, output } = job;
  const settings = { preprocess, metric: metric?.name, output };
  const engine = { name: "onnxruntime" };
  await agreeOnEvaluation({ modelPath, dataset: usedOf(job), engine, threads, settings }, communicator);
  return metricsOf(file, job, communicator);
}

const usedOf = ({ dataset, limit: most }: OpenedJob): Dataset => limit(dataset, most ?? Number.POSITIVE_INFINITY);

async function metricsOf(file: ModelFile, job: OpenedJob, communicator?: Communicator): Promise<Metrics | undefined> {
  const { dataset, preprocess, output, maxMemory, onProgress, onNote } = job;
  const batch = maxMemory === undefined ? {} : { batchSize: await batchOf(job, maxMemory, communicator) };
  const measured = await withinMemory(maxMemory, job.signal, (signal) =>
    measureFile(
      file,
      usedOf(job),
      {
        preprocess,
        ...(job.metric && { metric: job.metric }),
        ...batch,
        ...(output === undefined ? {} : { output }),
        ...(signal ? { signal } : {}),
        ...(onProgress ? { onProgress } : {}),
      },
      communicator,
    ),
  );
  if (!measured) return undefined;
  const { metrics } = measured;
  const hint =
    signsHint(metrics.labels, dataset) ?? noNumberHint(metrics) ?? sameLabelHint(metrics) ?? nearChanceHint(metrics);
  if (hint !== undefined) onNote?.(hint);
  return metrics;
}

/** What the memory leaves room for; of several processes, that of the one with the least. */
async function batchOf(
  { modelPath, dataset, preprocess }: OpenedJob,
  maxMemory: number,
  communicator: Communicator | undefined,
): Promise<number> {
  const own = batchWithin(maxMemory, { graph: readModel(modelPath).graph, dataset, preprocess });
  if (!communicator) return own;
  const all = await communicator.gatherEverywhere(new Uint8Array(Float64Array.of(own).buffer));
  return Math.min(...new Float64Array(all.slice().buffer));
}
