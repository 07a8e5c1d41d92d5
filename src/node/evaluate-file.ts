// What a model file is worth against labels, as `frostbit evaluate` measures it.
import { type Dataset, limit } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { evaluateModel } from "../evaluate/evaluate-model.ts";
import { signsHint } from "../evaluate/label-use.ts";
import type { Metrics } from "../evaluate/metrics.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import { nearChanceHint } from "../evaluate/near-chance.ts";
import { noNumberHint, type OwnMetric } from "../evaluate/own-metric.ts";
import { sameLabelHint } from "../evaluate/same-label.ts";
import { checkCounts, checkGiven, checkNames } from "../ir/check-options.ts";
import type { Progress } from "../run/context.ts";
import { outOfMemory } from "../run/out-of-memory.ts";
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

/** The same of a file that is open. */
export async function evaluateOpened(file: ModelFile, job: Omit<EvaluateFileJob, "threads">): Promise<Metrics> {
  const { modelPath, dataset, preprocess, output, limit: most, maxMemory, onProgress, onNote } = job;
  const batch =
    maxMemory === undefined
      ? {}
      : { batchSize: batchWithin(maxMemory, { graph: readModel(modelPath).graph, dataset, preprocess }) };
  const metrics = await withinMemory(maxMemory, job.signal, (signal) =>
    evaluateModel(file, limit(dataset, most ?? Number.POSITIVE_INFINITY), {
      preprocess,
      ...(job.metric && { metric: job.metric }),
      ...batch,
      ...(output === undefined ? {} : { output }),
      ...(signal ? { signal } : {}),
      ...(onProgress ? { onProgress } : {}),
    }),
  );
  const hint =
    signsHint(metrics.labels, dataset) ?? noNumberHint(metrics) ?? sameLabelHint(metrics) ?? nearChanceHint(metrics);
  if (hint !== undefined) onNote?.(hint);
  return metrics;
}
