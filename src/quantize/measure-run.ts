// What a run measures: accuracies by stage or distances to the float model, the exported file's latency, and each layer.
import { batches } from "../data/batches.ts";
import { limit } from "../data/dataset.ts";
import { affordableSamples, batchThatFits, fixedBatchOf, oneSample } from "../evaluate/batch-that-fits.ts";
import { addDistance, distanceOf, noDistance, type OutputDistance } from "../evaluate/distance.ts";
import { measureGraph, measureGraphBy } from "../evaluate/evaluate-graph.ts";
import { measureFile } from "../evaluate/evaluate-model.ts";
import { type Fidelity, measureFidelity, type RunModel } from "../evaluate/fidelity.ts";
import { measureLatency } from "../evaluate/latency.ts";
import { measureLayers } from "../evaluate/layer-sensitivity.ts";
import { layerSqnr } from "../evaluate/layer-sqnr.ts";
import type { Measurement, Metrics } from "../evaluate/metrics.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import { nearChanceHint } from "../evaluate/near-chance.ts";
import { noNumberHint } from "../evaluate/own-metric.ts";
import { sameLabelHint } from "../evaluate/same-label.ts";
import type { Stage } from "../evaluate/stages.ts";
import type { OpenedModel } from "../export/verify.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { opsetFor, writeOnnx } from "../onnx/write.ts";
import { softmaxAxis } from "../passes/class-scores.ts";
import { plainProducts } from "../passes/plain-products.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import type { Folded } from "../quantizers/fold.ts";
import { type Context, signalOf } from "../run/context.ts";
import { isLarge, runStages, stagesFor, withFewRuns } from "../run/with-few-runs.ts";
import { withPrograms } from "../run/with-program.ts";
import type { FormattedJob } from "./job.ts";
import type { Latency, QuantizeOutcome } from "./outcome.ts";
import type { Subject } from "./subject.ts";

/** A run, as far as measuring it goes. */
export interface Measured {
  readonly job: FormattedJob;
  readonly subject: Subject;
  readonly context: Context;
}

/** Of one stage's graph; `undefined` where there are no labels that fit. */
export async function metricsOf(
  { job, subject, context }: Measured,
  stage: Stage,
  graph: Graph,
): Promise<Measurement | undefined> {
  const { test, labels } = subject;
  const attended = selectOutputs(graph, job.options.quantize.outputs);
  const phase = `evaluate ${stage}`;
  if (job.metric) {
    const outputs = [...new Set([...attended.outputs, ...graph.outputs])];
    return measureGraphBy(job.metric, { ...graph, outputs }, test, job.preprocess, { context, phase });
  }
  return labels.kind === "none" ? undefined : measureGraph(attended, test, job.preprocess, context, phase);
}

/** What the float model's accuracy says of the data is noted. */
export function noteHints({ context }: Measured, metrics: Metrics | undefined): void {
  const hint = metrics && (noNumberHint(metrics) ?? sameLabelHint(metrics) ?? nearChanceHint(metrics));
  if (hint !== undefined) context.onNote?.(hint);
}

/** How many samples a file is verified on; fewer of a large model, and fewest where so many take more than these multiply-adds. */
const verification = { most: 256, least: 64, leastOperations: 5e11 } as const;

export function verificationCount({ subject }: Measured): number {
  const { most, least, leastOperations } = verification;
  const one = oneSample(subject.float);
  return Math.max(affordableSamples(one, most), affordableSamples(one, least, leastOperations));
}

/** Batches of the test data, `count` samples in all, or as many as fill batches of a fixed size. */
export async function takeBatches(
  { job, subject }: Measured,
  count: number,
): Promise<readonly ReadonlyMap<string, Tensor>[]> {
  const result: ReadonlyMap<string, Tensor>[] = [];
  const batchSize = batchThatFits(subject.float);
  const options = { batchSize, preprocess: job.preprocess, dropLast: fixedBatchOf(subject.float) !== undefined };
  for await (const batch of batches(limit(subject.test, Math.max(count, batchSize)), options))
    result.push(batch.inputs);
  return result;
}

/** What the exported file is worth in ONNX Runtime; `undefined` where there are no labels that fit, or no batch for this process. */
export async function measureDeployed(
  { job, subject, context }: Measured,
  model: OpenedModel,
): Promise<Measurement | undefined> {
  if (subject.labels.kind === "none" && !job.metric) return undefined;
  const { onProgress } = context;
  const deployed = await job.openDeployed(model, { spinning: false });
  try {
    const options = {
      preprocess: job.preprocess,
      batchSize: batchThatFits(subject.float),
      phase: "evaluate deployed",
      ...(job.metric && { metric: job.metric }),
      output: subject.attended.outputs[0],
      ...(onProgress ? { onProgress } : {}),
      ...(subject.scores?.givesProbabilities && { areProbabilities: true }),
      ...signalOf(context),
    };
    return await measureFile(deployed, subject.test, options, context.communicator);
  } finally {
    await deployed.dispose();
  }
}

/** Latencies of the float model and of the exported file in ONNX Runtime: in turn, or of a large model one after the other. */
export async function measureLatencies(run: Measured, model: OpenedModel): Promise<QuantizeOutcome["latencyMs"]> {
  if (isLarge(run.subject.float)) return latenciesOfLarge(run, model);
  const [float, deployed] = await latenciesInTurn(run, [run.subject.file(), model]);
  return { float, deployed };
}

/** Of files that are open at once, in turn: of many, in smaller batches and for longer than of two. */
export async function latenciesInTurn(run: Measured, files: readonly OpenedModel[]): Promise<readonly Latency[]> {
  const opened: ModelFile[] = [];
  const pairs = files.length / 2;
  try {
    for (const file of files) opened.push(await run.job.openDeployed(file));
    return await latenciesOf(
      run,
      (parts, options) => measureLatency(opened, parts, { ...options, budgetMs: 500 * pairs }),
      timedOperations / pairs,
    );
  } finally {
    await Promise.all(opened.map((model) => model.dispose()));
  }
}

/** The float model's is the sum of its stages', of which one is open at a time. */
async function latenciesOfLarge(run: Measured, model: OpenedModel): Promise<QuantizeOutcome["latencyMs"]> {
  const deployed = await run.job.openDeployed(model);
  const [own] = await latenciesOf(run, (parts, options) => measureLatency([deployed], parts, options)).finally(() =>
    deployed.dispose(),
  );
  const [float] = await latenciesOf(run, async (parts) => [await timeOfStages(run, parts)]);
  return { float, deployed: own };
}

/** Milliseconds of a run of each part. */
async function timeOfStages({ job, subject }: Measured, parts: readonly Inputs[]): Promise<number> {
  const { float } = subject;
  let total = 0;
  for (const inputs of parts) {
    const stages = stagesFor(float, inputs);
    await runStages(stages, inputs, float.outputs, async (cut, given) => {
      const graph = plainProducts(cut);
      const opset = opsetFor(graph, Math.max(job.model.origin.opset, 13));
      const stage = await job.openDeployed(writeOnnx({ ...job.model, graph }, { opset }));
      try {
        const [time] = await measureLatency([stage], [given], { budgetMs: 500 / stages.length });
        total += time;
        return await stage.run(given);
      } finally {
        await stage.dispose();
      }
    });
  }
  return total;
}

type Inputs = ReadonlyMap<string, Tensor>;

/** Multiply-adds of the batch that stands for 256 samples: each model runs it twice at least. */
const timedOperations = 1.2e10;

/** Of a batch that somebody may run at once: half a minute on two cores. */
const batchOperations = 5e12;

/** Where a batch of 256 does not fit into memory, or takes long, its time is that of a smaller batch, multiplied. */
async function latenciesOf(
  { job, subject }: Measured,
  timesOf: (parts: readonly Inputs[], options: { readonly most?: number }) => Promise<readonly number[]>,
  operations = timedOperations,
): Promise<readonly Latency[]> {
  const single = oneSample(subject.float);
  const affordable = affordableSamples(single, 256, operations);
  const part = Math.min(batchThatFits(subject.float, 256), affordable);
  const fixed = fixedBatchOf(subject.float);
  const measure = async (batchSize: number): Promise<readonly number[]> => {
    const size = fixed ?? Math.min(batchSize, part);
    const order = Int32Array.from({ length: size }, (_, i) => i % subject.test.length);
    const options = { batchSize: size, preprocess: job.preprocess, order };
    const outputs: ReadonlyMap<string, Tensor>[] = [];
    for await (const { inputs } of batches(subject.test, options)) outputs.push(inputs);
    const times = await timesOf(outputs, batchSize === 1 ? { most: 200 } : {});
    return times.map((time) => (time * batchSize) / size);
  };
  const one = await measure(1);
  const isBatch = fixed !== undefined || affordableSamples(single, 256, batchOperations) === 256;
  const many = isBatch ? await measure(256) : undefined;
  return one.map((batch1, i) => ({ batch1, batch256: many?.[i] ?? null }));
}

/** What a regression gives beside what its labels are of is measured too, unless a Softmax says otherwise. */
const isNoSoftmax =
  (graph: Graph) =>
  (output: string): boolean =>
    softmaxAxis(graph, output) === undefined;

/** By stage and for the file: each output's distance to the float model's. */
export async function fidelityOf(
  { job, subject, context }: Measured,
  stages: ReadonlyMap<Stage, Graph>,
  model: OpenedModel,
): Promise<Fidelity> {
  const { options, preprocess, openDeployed } = job;
  const { attended, test, labels } = subject;
  const file = await openDeployed(model, { spinning: false });
  const graphs = [attended, ...[...stages.values()].map((graph) => selectOutputs(graph, options.quantize.outputs))];
  const measured = {
    outputs: attended.outputs,
    preprocess,
    batchSize: batchThatFits(attended),
    ...(labels.kind === "values" && { measured: new Set(attended.outputs.filter(isNoSoftmax(attended))) }),
  };
  const settings = signalOf(context);
  try {
    return await withPrograms(graphs.map(removeDeadNodes), context, async (programs) => {
      const [first, ...rest] = programs.map(
        (program): RunModel =>
          (inputs) =>
            program.run(inputs, settings),
      );
      const runs = new Map<string, RunModel>([...stages.keys()].map((stage, i) => [stage, rest[i]]));
      runs.set("deployed", (inputs) => file.run(inputs, attended.outputs));
      return measureFidelity(first, runs, test, measured, context);
    });
  } finally {
    await file.dispose();
  }
}

/** The exported file's outputs against the float model's, but class scores that labels judge. */
export async function outputsAgainstFloat(
  { job, subject, context }: Measured,
  model: OpenedModel,
  samples: readonly ReadonlyMap<string, Tensor>[],
): Promise<readonly OutputDistance[]> {
  const outputs = subject.attended.outputs.filter(
    (output) => !(subject.labels.kind === "classes" && output === subject.scores?.output),
  );
  if (outputs.length === 0) return [];
  const totals = outputs.map((name) => ({ name, distance: noDistance() }));
  const file = await job.openDeployed(model, { spinning: false });
  try {
    await withFewRuns(removeDeadNodes({ ...subject.attended, outputs }), context, async (program) => {
      for (const inputs of samples) {
        const [expected, actual] = [await program.run(inputs, signalOf(context)), await file.run(inputs, outputs)];
        for (const { name, distance } of totals) {
          const [a, b] = [expected.get(name), actual.get(name)];
          assert(a && b, `output "${name}" is missing`);
          addDistance(distance, a, b);
        }
      }
    });
  } finally {
    await file.dispose();
  }
  return totals.map(({ name, distance }) => distanceOf(name, distance));
}

/** Each layer's output against the float model's, its sensitivity, and the histogram of its input. */
export async function measureEachLayer(
  { job, context }: Measured,
  graphs: { readonly float: Graph; readonly trained: Graph; readonly folded: Folded | undefined },
  batch: ReadonlyMap<string, Tensor>,
): Promise<Pick<QuantizeOutcome, "layerSqnrDb" | "layerMeasures">> {
  const { float, trained, folded } = graphs;
  const outputs = new Map((folded?.layers ?? []).map(({ name, output }) => [name, output]));
  const layerSqnrDb = folded ? await layerSqnr(float, folded.graph, outputs, batch, context) : new Map();
  const attended = selectOutputs(trained, job.options.quantize.outputs);
  return { layerSqnrDb, layerMeasures: await measureLayers(attended, batch, context) };
}
