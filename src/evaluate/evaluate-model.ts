// What a model file's output is worth against labels, as it will be deployed.
import { changeSamples } from "../data/batch-axis.ts";
import { type Batch, batches, runAhead } from "../data/batches.ts";
import { type Dataset, noLabels } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import type { Communicator } from "../distributed/communicator.ts";
import { startCounting, type Tally } from "../distributed/tally.ts";
import { batchAxes } from "../ir/batch-axes.ts";
import { checkCounts, checkNames } from "../ir/check-options.ts";
import type { TypedArray } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { widenTensor } from "../ir/half.ts";
import type { Tensor } from "../ir/tensor.ts";
import { arraysOf } from "../run/with-program.ts";
import { evaluationBatch } from "./batch-that-fits.ts";
import { type LabeledOutput, usableLabels, useOfLabels } from "./label-use.ts";
import { type Measurement, type Meter, type Metrics, meterOf } from "./metrics.ts";
import { datasetFor, firstRows, fixedBatch, type ModelFile, padRows, rowsOfBatch } from "./model-file.ts";
import { type OwnMetric, ownMeter } from "./own-metric.ts";

/** How a file is evaluated. */
export interface EvaluateOptions {
  readonly preprocess: Preprocess;
  /** The output that the labels are of; by default the first. */
  readonly output?: string;
  /** Whether class scores are probabilities, as a Softmax or Sigmoid gives; where absent, as all of them look. */
  readonly areProbabilities?: boolean;
  /** What the outputs are worth, instead of what the labels choose. */
  readonly metric?: OwnMetric;
  /** Samples at once where the file leaves it free; 64 where absent. */
  readonly batchSize?: number;
  /** What the progress shown is called. */
  readonly phase?: string;
  /** Stops between two batches: the call then throws ABORTED. */
  readonly signal?: AbortSignal;
  /** Called after each batch. */
  readonly onProgress?: (progress: { phase: string; done: number; total: number; note: string }) => void;
}

/** All of them: the compiler names what is forgotten. */
const fields = Object.keys({
  preprocess: true,
  output: true,
  areProbabilities: true,
  metric: true,
  batchSize: true,
  phase: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof EvaluateOptions, true>);

/**
 * Runs the whole dataset through a file and holds its output against the labels: class scores or probabilities against class
 * indices, else against what the output should be. Throws BAD_DATA where the samples have no labels that fit the output or are not
 * what the model takes.
 *
 * @example
 * const { top1 } = await evaluateModel(await openDeployed("out/model.onnx"), dataset, { preprocess });
 */
export async function evaluateModel(file: ModelFile, dataset: Dataset, options: EvaluateOptions): Promise<Metrics> {
  checkNames("evaluateModel", options, fields);
  checkCounts("evaluateModel", { batchSize: options.batchSize });
  const measured = await measureFile(file, dataset, options);
  assert(measured, "evaluation of no samples");
  return measured.metrics;
}

/** The same, with the figures of each sample. Of several processes that share the batches, those without a batch give nothing. */
export async function measureFile(
  file: ModelFile,
  dataset: Dataset,
  options: EvaluateOptions,
  communicator?: Communicator,
): Promise<Measurement | undefined> {
  const { preprocess, metric, batchSize = evaluationBatch, phase = "evaluate", signal, onProgress } = options;
  if (!metric && !dataset.hasLabels && !dataset.target && dataset.notClasses === undefined)
    throw noLabels(dataset, "there is nothing to measure against.");
  const fixed = fixedBatch(file);
  const axes = batchAxes(file.inputs);
  const output = outputOf(file, options.output);
  const matched = datasetFor(file, dataset, preprocess);
  let spare: ReadonlyMap<string, TypedArray> | undefined;
  const run = ({ inputs, indices }: Batch) =>
    file.run(
      changeSamples(inputs, axes, (rows) => padRows(rows, rowsOfBatch(fixed, indices.length, batchSize))),
      metric ? [...file.outputs.keys()] : [output],
      spare,
    );
  // The output that is meant before all others.
  const types = new Map([...file.outputs].toSorted(([a], [b]) => Number(b === output) - Number(a === output)));
  const own = metric && (await ownMeter(metric, batchAxes(file.inputs, types)));
  let meter: Meter | undefined;
  const count = (outputs: ReadonlyMap<string, Tensor>, batch: Batch): Tally => {
    if (own) return own.count(outputs, batch);
    const given = outputs.get(output);
    assert(given, `no output "${output}"`);
    const rows = samplesOf(given, output, batch.indices.length);
    meter ??= meterFor(file, { ...rows, name: output }, dataset, options.areProbabilities);
    spare = arraysOf(outputs);
    return meter.count(rows, batch);
  };
  const part = own?.keeps ? undefined : communicator;
  const counting = startCounting(part);
  const total = dataset.length;
  let done = 0;
  const all = batches(matched, { batchSize: fixed ?? batchSize, preprocess, byLength: !metric, part });
  for await (const [batch, outputs] of runAhead(all, run)) {
    if (signal?.aborted) throw new FrostbitError("ABORTED", `Stopped after ${done} of ${total} samples.`);
    const counted = counting.add(count(outputs, batch));
    done = Math.min(total, done + batch.indices.length * (part?.size ?? 1));
    onProgress?.({ phase, done, total, note: (own ?? meter)?.note(counted) ?? "" });
  }
  const counted = await counting.end();
  return counted && (own ?? meter)?.measurement(counted);
}

/** Where the labels do not fit the output, another may be meant. */
function meterFor({ outputs }: ModelFile, output: LabeledOutput, dataset: Dataset, areProbabilities?: boolean): Meter {
  const others = [...outputs].filter(([name]) => name !== output.name).map(([name, type]) => ({ ...type, name }));
  return meterOf(usableLabels(useOfLabels(output, dataset, others), dataset), dataset, areProbabilities);
}

/** Those of the batch alone, without what pads it. */
function samplesOf(given: Tensor, output: string, samples: number): Tensor {
  if (given.shape[0] >= samples) return firstRows(widenTensor(given), samples);
  throw new FrostbitError(
    "BAD_MODEL",
    `Output "${output}" is ${given.dtype} [${given.shape.join(", ")}] for ${samples} samples, which has no row for each. Where another output holds what the labels are of, name it with --output; outputs without labels are compared with \`frostbit compare\`.`,
  );
}

function outputOf({ outputs }: ModelFile, wanted: string | undefined): string {
  const names = [...outputs.keys()];
  if (wanted === undefined || names.includes(wanted)) return wanted ?? names[0];
  throw new FrostbitError(
    "BAD_OPTION",
    `output is "${wanted}"; the model's outputs are ${names.map((name) => `"${name}"`).join(", ")}.`,
  );
}
