// Accuracy and loss of a model file as it will be deployed.
import { changeSamples } from "../data/batch-axis.ts";
import { type Batch, batches, runAhead } from "../data/batches.ts";
import { type Dataset, noLabels } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { batchAxes } from "../ir/batch-axes.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { evaluationBatch } from "./batch-that-fits.ts";
import { datasetFor, firstRows, fixedBatch, type ModelFile, padRows, rowsOfBatch } from "./model-file.ts";
import { type Accuracy, accuracyOf, addScores, checkLabels, emptyScore } from "./score.ts";

/** How a file is evaluated. */
export interface EvaluateOptions {
  readonly preprocess: Preprocess;
  /** The output that holds class scores or probabilities; by default the first. */
  readonly output?: string;
  /** Samples at once where the file leaves it free; 64 where absent. */
  readonly batchSize?: number;
  /** What the progress shown is called. */
  readonly phase?: string;
  /** Stops between two batches: the call then throws ABORTED. */
  readonly signal?: AbortSignal;
  /** Called after each batch. */
  readonly onProgress?: (progress: { phase: string; done: number; total: number; note: string }) => void;
}

/** What `evaluateModel` measured. */
export interface Evaluation extends Accuracy {
  /** How many the model's output tells apart. */
  readonly classes: number;
}

/**
 * Runs the whole dataset through a file and holds its class scores or probabilities against the labels. Throws BAD_DATA where the
 * samples have no labels or are not what the model takes, BAD_MODEL where the output holds no class scores.
 *
 * @example
 * const { top1 } = await evaluateModel(await openDeployed("out/model.onnx"), dataset, { preprocess });
 */
export async function evaluateModel(file: ModelFile, dataset: Dataset, options: EvaluateOptions): Promise<Evaluation> {
  const { preprocess, batchSize = evaluationBatch, phase = "evaluate", signal, onProgress } = options;
  if (!dataset.hasLabels) throw noLabels(dataset, "there is nothing to measure against.");
  const fixed = fixedBatch(file);
  const axes = batchAxes(file.inputs);
  const output = outputOf(file, options.output);
  const score = emptyScore();
  let areProbabilities: boolean | undefined;
  let classes = 0;
  const matched = datasetFor(file, dataset, preprocess);
  const all = batches(matched, { batchSize: fixed ?? batchSize, preprocess });
  const run = ({ inputs, indices }: Batch) =>
    file.run(
      changeSamples(inputs, axes, (rows) => padRows(rows, rowsOfBatch(fixed, indices.length, batchSize))),
      [output],
    );
  for await (const [batch, outputs] of runAhead(all, run)) {
    if (signal?.aborted)
      throw new FrostbitError("ABORTED", `Stopped after ${score.samples} of ${dataset.length} samples.`);
    const scores = classScores(outputs.get(output), output, batch.indices.length);
    classes = scores.shape[1];
    areProbabilities ??= rowsSumToOne(scores);
    assert(batch.labels, "batch without labels");
    checkLabels(batch, dataset, classes);
    addScores(score, scores, batch.labels, areProbabilities);
    const note = `top-1 ${accuracyOf(score).top1.toFixed(2)} %`;
    onProgress?.({ phase, done: score.samples, total: dataset.length, note });
  }
  return { ...accuracyOf(score), classes };
}

function outputOf({ outputs }: ModelFile, wanted: string | undefined): string {
  const names = [...outputs.keys()];
  if (wanted === undefined || names.includes(wanted)) return wanted ?? names[0];
  throw new FrostbitError(
    "BAD_OPTION",
    `output is "${wanted}"; the model's outputs are ${names.map((name) => `"${name}"`).join(", ")}.`,
  );
}

/** [samples, classes], whatever axes of size 1 the output has besides. */
function classScores(given: Tensor | undefined, output: string, samples: number): Tensor {
  assert(given, `no output "${output}"`);
  const classes = given.shape.slice(1).filter((size) => size !== 1);
  if (given.dtype !== "float32" || classes.length !== 1 || given.shape[0] < samples) {
    throw new FrostbitError(
      "BAD_MODEL",
      `Output "${output}" is ${given.dtype} [${given.shape.join(", ")}]; expected class scores, float32 [${samples}, classes]. Where another output holds them, name it with --output; a model without any is compared with \`frostbit compare\`.`,
    );
  }
  const [count] = classes;
  return firstRows({ ...given, shape: [given.shape[0], count] }, samples);
}

/** Scores that no loss has seen yet never do; the output of a Softmax always does. */
function rowsSumToOne(scores: Tensor): boolean {
  const values = numbersOf(scores);
  const [samples, classes] = scores.shape;
  for (let row = 0; row < samples; row++) {
    let sum = 0;
    for (let i = row * classes; i < (row + 1) * classes; i++) {
      if (values[i] < 0) return false;
      sum += values[i];
    }
    if (Math.abs(sum - 1) > 1e-3) return false;
  }
  return true;
}
