// How well a language model predicts a text: perplexity, of a file in ONNX Runtime or of a folder on an engine.
import type { Dataset } from "../data/dataset.ts";
import { resolvePreprocess } from "../data/preprocess.ts";
import type { Communicator } from "../distributed/communicator.ts";
import { type EngineName, selectEngine } from "../engines/select.ts";
import { measureGraph } from "../evaluate/evaluate-graph.ts";
import { measureFile } from "../evaluate/evaluate-model.ts";
import type { Measurement } from "../evaluate/metrics.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import { withSizesOf } from "../evaluate/sizes-of-data.ts";
import { assert } from "../ir/errors.ts";
import type { TextForm } from "../language-models/text-data.ts";
import type { Progress } from "../run/context.ts";
import { agreeOnEvaluation } from "./agree-on-evaluation.ts";
import { openSequences } from "./open-decoder.ts";
import { languageModelFolder, openText, type TextOptions } from "./open-text.ts";
import { checkModelFile, readModel } from "./read-model.ts";

/** What `evaluateText` is given. */
export interface EvaluateTextJob extends TextOptions {
  /** An ONNX file beside its tokenizer, a folder with both, or the folder of a language model in float. */
  readonly modelPath: string;
  readonly textPath: string;
  /** What runs a model that is no ONNX file. */
  readonly engine?: EngineName;
  /** CPU threads; the engine's own choice where absent. */
  readonly threads?: number;
  /** Stops between two batches: the call then throws ABORTED. */
  readonly signal?: AbortSignal;
  /** Called after each batch. */
  readonly onProgress?: (progress: Progress) => void;
}

/** What a language model makes of a text. */
export interface TextMetrics {
  /** exp of the loss. */
  readonly perplexity: number;
  /** The mean of −ln p(next token) over all predictions. */
  readonly loss: number;
  /** How many tokens were predicted. */
  readonly predictions: number;
  readonly sequences: number;
  readonly form: TextForm;
  /** Tokens of a sequence, at most. */
  readonly length: number;
}

/** Throws BAD_OPTION, BAD_DATA, BAD_MODEL, IO, and ABORTED after `signal`. */
export async function evaluateText(job: EvaluateTextJob): Promise<TextMetrics> {
  const metrics = await textMetrics(job);
  assert(metrics, "evaluation of no samples");
  return metrics;
}

/** As one of several processes that each call it and share the sequences: the first one gives the metrics, as those with a batch do. */
export const evaluateTextAmong = (job: EvaluateTextJob, communicator: Communicator): Promise<TextMetrics | undefined> =>
  textMetrics(job, communicator);

async function textMetrics(job: EvaluateTextJob, communicator?: Communicator): Promise<TextMetrics | undefined> {
  const { onnx } = languageModelFolder(job.modelPath);
  const { dataset, predictions, form, length } = await openText(job.modelPath, job.textPath, job);
  const measured =
    onnx === undefined ? await ofGraph(job, dataset, communicator) : await ofFile(onnx, job, dataset, communicator);
  if (!measured) return undefined;
  const { loss, samples } = measured.metrics;
  assert(loss !== null, "text without a loss");
  return { perplexity: Math.exp(loss), loss, predictions, sequences: samples, form, length };
}

/** What is run is called the same whichever runs it. */
const phase = "evaluate";
const preprocess = resolvePreprocess("none");

async function ofGraph(
  { modelPath, engine: engineName = "auto", threads, signal, onProgress }: EvaluateTextJob,
  dataset: Dataset,
  communicator: Communicator | undefined,
): Promise<Measurement> {
  const graph = withSizesOf(readModel(modelPath).graph, dataset, preprocess);
  const engine = selectEngine(engineName, [graph]);
  if (communicator) await agreeOnEvaluation({ modelPath, dataset, engine, threads, settings: {} }, communicator);
  const context = {
    engine,
    seed: 0,
    ...(communicator && { communicator }),
    ...(threads === undefined ? {} : { threads }),
    ...(signal && { signal }),
    ...(onProgress && { onProgress }),
  };
  return measureGraph(graph, dataset, preprocess, context, phase);
}

async function ofFile(
  path: string,
  { threads, signal, onProgress }: EvaluateTextJob,
  dataset: Dataset,
  communicator: Communicator | undefined,
): Promise<Measurement | undefined> {
  checkModelFile(path);
  const engine = { name: "onnxruntime" };
  if (communicator) await agreeOnEvaluation({ modelPath: path, dataset, engine, threads, settings: {} }, communicator);
  const file = await openSequences(path, { spinning: false, ...(threads === undefined ? {} : { threads }) });
  try {
    const batchSize = batchOf(file, dataset);
    const options = { preprocess, batchSize, phase, ...(signal && { signal }), ...(onProgress && { onProgress }) };
    return await measureFile(file, dataset, options, communicator);
  } finally {
    await file.dispose();
  }
}

/** What the logits of one batch take at most. */
const logitBytes = 2 ** 27;

/** As many sequences as their logits leave room for. */
function batchOf({ outputs }: ModelFile, { labelShape = [] }: Dataset): number {
  const [first] = outputs.values();
  const bytes = 4 * Number(first?.shape.at(-1) ?? 1) * (labelShape[0] ?? 1);
  return Math.max(1, Math.min(16, Math.floor(logitBytes / bytes)));
}
