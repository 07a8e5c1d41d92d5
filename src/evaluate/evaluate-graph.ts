// What a graph's output is worth against labels, on an engine.
import { type Batch, batches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { startCounting } from "../distributed/tally.ts";
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import { assert } from "../ir/errors.ts";
import type { Graph, ValueType } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { scoresAt } from "../passes/class-scores.ts";
import { onlyOutputs } from "../passes/gather-early.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import type { Context } from "../run/context.ts";
import { runEach } from "../run/with-few-runs.ts";
import { batchThatFits } from "./batch-that-fits.ts";
import { labelUse, usableLabels } from "./label-use.ts";
import { type Measurement, type Metrics, meterOf } from "./metrics.ts";
import { type OwnMeter, type OwnMetric, ownMeter } from "./own-metric.ts";
import { withOpenLength } from "./sizes-of-data.ts";

/**
 * What a graph's first output is worth on an engine, over the whole dataset: accuracy and cross-entropy against class indices, or
 * the error against measured values. `phase` names it in the progress shown. Throws BAD_DATA where the dataset has no labels that
 * fit the output, or labels outside the classes.
 */
export async function evaluateGraph(
  graph: Graph,
  dataset: Dataset,
  preprocess: Preprocess,
  context: Context,
  phase: string,
): Promise<Metrics> {
  const { metrics } = await measureGraph(graph, dataset, preprocess, context, phase);
  return metrics;
}

/** By a metric of one's own, of all the graph's outputs. */
export async function measureGraphBy(
  metric: OwnMetric,
  graph: Graph,
  dataset: Dataset,
  preprocess: Preprocess,
  { context, phase }: { readonly context: Context; readonly phase: string },
): Promise<Measurement> {
  const outputs = new Map(graph.outputs.map((name) => [name, graph.values.get(name) as ValueType]));
  const meter = await ownMeter(metric, batchAxes(inputTypes(graph), outputs));
  const run = removeDeadNodes(graph);
  const measuring = { graph: run, batchSize: batchThatFits(graph), dataset, preprocess, phase };
  // It may count on the order of the samples, and on the sizes of the outputs.
  return measure({ ...measuring, meter, reuses: false, byLength: false }, context);
}

/** The same as `evaluateGraph`, and one figure of each sample. */
export async function measureGraph(
  graph: Graph,
  dataset: Dataset,
  preprocess: Preprocess,
  context: Context,
  phase: string,
): Promise<Measurement> {
  const use = usableLabels(labelUse(graph, dataset), dataset);
  const scores = use.kind === "classes" ? scoresAt(graph, use.place) : undefined;
  const output = scores?.logits ?? graph.outputs[0];
  const ofScores = meterOf(use, dataset, scores?.givesProbabilities ? false : undefined);
  const count: OwnMeter["count"] = (outputs, batch) => {
    const given = outputs.get(output);
    assert(given, "evaluation run without its output");
    return ofScores.count(given, batch);
  };
  const meter = { ...ofScores, count, keeps: false };
  const only = withOpenLength(onlyOutputs(graph, [output]), dataset);
  const measuring = { graph: only, batchSize: batchThatFits(graph), dataset, preprocess, phase };
  return measure({ ...measuring, meter, reuses: true, byLength: true }, context);
}

interface Measuring {
  readonly graph: Graph;
  readonly batchSize: number;
  /** Whether batches are of samples of similar length. */
  readonly byLength: boolean;
  readonly meter: OwnMeter;
  /** Whether nothing reads outputs that the meter has seen. */
  readonly reuses: boolean;
  readonly dataset: Dataset;
  readonly preprocess: Preprocess;
  readonly phase: string;
}

/** Several processes share the batches. */
async function measure(
  { graph, batchSize, byLength, meter, reuses, dataset, preprocess, phase }: Measuring,
  context: Context,
): Promise<Measurement> {
  const part = meter.keeps ? undefined : context.communicator;
  const counting = startCounting(part);
  const total = dataset.length;
  let done = 0;
  const use = (batch: Batch, outputs: ReadonlyMap<string, Tensor>): void => {
    const counted = counting.add(meter.count(outputs, batch));
    done = Math.min(total, done + batch.indices.length * (part?.size ?? 1));
    context.onProgress?.({ phase, done, total, note: meter.note(counted) });
  };
  await runEach(graph, batches(dataset, { batchSize, preprocess, byLength, part }), { use, reuses, phase }, context);
  const counted = await counting.end();
  assert(counted, "evaluation of no samples");
  return meter.measurement(counted);
}
