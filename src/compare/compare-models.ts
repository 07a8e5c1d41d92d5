// Two model files, value by value: where they agree, and where they diverge.
import { changeSamples } from "../data/batch-axis.ts";
import { batches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { type Fetches, fixedBatchOf, oneSample, planFetches } from "../evaluate/batch-that-fits.ts";
import {
  type Difference,
  difference,
  joinDifferences,
  noDifference,
  reportedDb,
  sqnrDb,
} from "../evaluate/difference.ts";
import { datasetFor, firstRows, fixedBatch, type ModelFile, padRows, rowsOfBatch } from "../evaluate/model-file.ts";
import { withSizesOf } from "../evaluate/sizes-of-data.ts";
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import { checkNames } from "../ir/check-options.ts";
import { errorAt, FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { type NamedValues, namedValues, watchValues } from "../onnx/watch-values.ts";

/** How two files are compared. */
export interface CompareOptions {
  readonly preprocess: Preprocess;
  /** Opens the first (0) or the second (1) model, whose bytes have more outputs than the file's. */
  readonly open: (bytes: Uint8Array, which: 0 | 1) => Promise<ModelFile>;
  /** Below this SQNR, in dB, a value counts as diverged, 20 where absent: quantization to 8 bits mostly stays above 20, float32 rounding above 80. */
  readonly thresholdDb?: number;
  /** Stops between two batches: the call then throws ABORTED. */
  readonly signal?: AbortSignal;
  /** Called after each batch. */
  readonly onProgress?: (progress: { phase: string; done: number; total: number }) => void;
  /** The first model as it was read. It tells how large its values are: as many as fit into memory are compared at once, instead of all. */
  readonly graph?: Graph;
}

/** All of them: the compiler names what is forgotten. */
const fields = Object.keys({
  preprocess: true,
  open: true,
  thresholdDb: true,
  signal: true,
  onProgress: true,
  graph: true,
} satisfies Record<keyof CompareOptions, true>);

/** One value of the same name in both models. */
export interface ComparedValue {
  readonly name: string;
  /** Of the second model's value against the first's; `null`: they are equal; −1000: the first's is 0 throughout, or an element is NaN. */
  readonly sqnrDb: number | null;
  /** The largest absolute difference of two elements. */
  readonly largest: number;
  /** With the batch axis of the last batch. */
  readonly shape: readonly number[];
}

/** What `compareModels` found. */
export interface Comparison {
  /** How many were run through both. */
  readonly samples: number;
  /** In the first model's topological order. */
  readonly values: readonly ComparedValue[];
  /** The first value whose SQNR is below the threshold. */
  readonly firstDiverged: string | null;
  /** What counted as diverged, in dB. */
  readonly thresholdDb: number;
  /** Values that have the same name but another type or shape. */
  readonly incomparable: readonly string[];
}

export const defaultThresholdDb = 20;
const defaultBatch = 16;

type TensorType = Pick<Tensor, "dtype" | "shape">;

interface Totals {
  readonly differences: Map<string, Difference>;
  readonly shapes: Map<string, readonly number[]>;
  /** By name: its type and shape in each. */
  readonly incomparable: Map<string, readonly [first: TensorType, second: TensorType]>;
}

/**
 * Runs two files, given as bytes, on the whole dataset, with all values of the same name as outputs, and reports where they diverge.
 * Throws BAD_MODEL where no value has the same name and shape in both, or an output another shape; BAD_DATA where the samples are
 * not what the models take.
 */
export async function compareModels(
  first: Uint8Array,
  second: Uint8Array,
  dataset: Dataset,
  options: CompareOptions,
): Promise<Comparison> {
  checkNames("compareModels", options, fields);
  const [inFirst, inSecond] = [namedValues(first), namedValues(second)];
  const names = commonValues(inFirst, inSecond);
  const { samples, groups } = planGroups(names, dataset, options);
  const totals: Totals = { differences: new Map(), shapes: new Map(), incomparable: new Map() };
  for (const [index, group] of groups.entries()) {
    const files = [
      await options.open(watchValues(first, inFirst, group), 0),
      await options.open(watchValues(second, inSecond, group), 1),
    ] as const;
    const before = { batchSize: samples, done: index * dataset.length, total: groups.length * dataset.length };
    try {
      await runBoth(files, group, dataset, { ...options, ...before }, totals);
    } finally {
      await Promise.all(files.map((file) => file.dispose()));
    }
  }
  checkRelated(totals, new Set([...inFirst.outputs, ...inSecond.outputs]));
  return summarize(totals, names, dataset.length, options.thresholdDb ?? defaultThresholdDb);
}

/** Fewer samples at once where the values of more do not fit into memory, and group by group where those of one do not. */
function planGroups(
  names: readonly string[],
  dataset: Dataset,
  { graph, preprocess }: CompareOptions,
): Fetches<string> {
  if (!graph) return { samples: defaultBatch, groups: [names] };
  const sized = withSizesOf(graph, datasetFor({ inputs: inputTypes(graph) }, dataset, preprocess), preprocess);
  return planFetches(oneSample(sized), names, (name) => [name], fixedBatchOf(graph) === undefined ? defaultBatch : 1);
}

const advice =
  "What is compared is a model and what was made of it, where values keep their names; `frostbit evaluate` measures models that have nothing in common.";

const printed = ({ dtype, shape }: TensorType): string => `${dtype} [${shape.join(", ")}]`;

/** Models that name some values alike by chance are not compared. */
function checkRelated({ differences, incomparable }: Totals, outputs: ReadonlySet<string>): void {
  const list = [...incomparable].map(([name, [a, b]]) => `"${name}" is ${printed(a)} and ${printed(b)}`);
  const shown = `${list.slice(0, 3).join(", ")}${list.length > 3 ? ", …" : ""}`;
  if (differences.size === 0)
    throw new FrostbitError(
      "BAD_MODEL",
      `The two models have no value of the same name, type and shape${shown === "" ? "" : `: ${shown}`}. ${advice}`,
    );
  for (const [name, [a, b]] of incomparable)
    if (outputs.has(name) && String(a.shape) !== String(b.shape))
      throw new FrostbitError(
        "BAD_MODEL",
        `Output "${name}" is ${printed(a)} in the first model and ${printed(b)} in the second. ${advice}`,
      );
}

function commonValues(first: NamedValues, second: NamedValues): readonly string[] {
  const inSecond = new Set(second.computed);
  const names = first.computed.filter((name) => inSecond.has(name));
  if (names.length === 0)
    throw new FrostbitError("BAD_MODEL", `The two models have no value of the same name. ${advice}`);
  return names;
}

/** Samples at once, and what was done before of all that is to do. */
interface GroupRun {
  readonly batchSize: number;
  readonly done: number;
  readonly total: number;
}

async function runBoth(
  [first, second]: readonly [ModelFile, ModelFile],
  names: readonly string[],
  dataset: Dataset,
  { preprocess, signal, onProgress, ...run }: CompareOptions & GroupRun,
  totals: Totals,
): Promise<void> {
  const matched = samplesFor("first", first, dataset, preprocess);
  const renamed = samplesFor("second", second, dataset, preprocess);
  const fixed = fixedBatch(first) ?? fixedBatch(second);
  const batchSize = fixed ?? run.batchSize;
  const comparable = names.filter((name) => isComparable(first, name) && isComparable(second, name));
  const other = batches(renamed, { batchSize, preprocess });
  let done = 0;
  for await (const batch of batches(matched, { batchSize, preprocess })) {
    if (signal?.aborted) throw new FrostbitError("ABORTED", `Stopped after ${done} of ${dataset.length} samples.`);
    const same = await other.next();
    if (!same.value) break;
    const samples = batch.indices.length;
    const rows = rowsOfBatch(fixed, samples, batchSize);
    const a = await first.run(padded(first, batch.inputs, rows), comparable);
    const b = await second.run(padded(second, same.value.inputs, rows), comparable);
    for (const name of comparable)
      add(totals, name, without(a.get(name), rows, samples), without(b.get(name), rows, samples));
    done += samples;
    onProgress?.({ phase: "compare", done: run.done + done, total: run.total });
  }
}

function samplesFor(which: string, file: ModelFile, dataset: Dataset, preprocess: Preprocess): Dataset {
  try {
    return datasetFor(file, dataset, preprocess);
  } catch (cause) {
    if (!(cause instanceof FrostbitError)) throw cause;
    throw errorAt(`The ${which} model: `, cause);
  }
}

const padded = (file: ModelFile, inputs: ReadonlyMap<string, Tensor>, count: number): ReadonlyMap<string, Tensor> =>
  changeSamples(inputs, batchAxes(file.inputs), (rows) => padRows(rows, count));

/** Without what stands for samples that a last batch lacks; values whose first axis is another one stay whole. */
const without = (value: Tensor | undefined, rows: number, samples: number): Tensor | undefined =>
  value && rows > samples && value.shape[0] === rows ? firstRows(value, samples) : value;

const isComparable = (file: ModelFile, name: string): boolean =>
  /^(float(32|64)|u?int(8|16|32))$/.test(file.outputs.get(name)?.dtype ?? "");

function add(totals: Totals, name: string, a: Tensor | undefined, b: Tensor | undefined): void {
  if (!a || !b) return;
  if (a.dtype !== b.dtype || String(a.shape) !== String(b.shape)) {
    const [first, second] = [a, b].map(({ dtype, shape }) => ({ dtype, shape }));
    totals.incomparable.set(name, [first, second]);
    return;
  }
  const soFar = totals.differences.get(name) ?? noDifference;
  totals.differences.set(name, joinDifferences(soFar, difference(numbersOf(a), numbersOf(b))));
  totals.shapes.set(name, a.shape);
}

function summarize(totals: Totals, names: readonly string[], samples: number, thresholdDb: number): Comparison {
  const values = names.flatMap((name): ComparedValue[] => {
    const total = totals.differences.get(name);
    if (!total) return [];
    return [
      {
        name,
        sqnrDb: reportedDb(sqnrDb(total)),
        largest: total.largest,
        shape: totals.shapes.get(name) ?? [],
      },
    ];
  });
  const diverged = values.find((value) => value.sqnrDb !== null && value.sqnrDb < thresholdDb);
  return {
    samples,
    values,
    firstDiverged: diverged?.name ?? null,
    thresholdDb,
    incomparable: [...totals.incomparable.keys()],
  };
}
