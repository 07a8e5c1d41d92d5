// The whole run: calibrate, quantize, train, fold, export, verify, measure.
import { batches } from "../data/batches.ts";
import { type Dataset, limit } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { batchThatFits } from "../evaluate/batch-that-fits.ts";
import type { OutputDistance } from "../evaluate/distance.ts";
import { evaluateGraph } from "../evaluate/evaluate-graph.ts";
import { evaluateModel } from "../evaluate/evaluate-model.ts";
import { measureFidelity, type RunModel } from "../evaluate/fidelity.ts";
import { measureLatency } from "../evaluate/latency.ts";
import { type LayerMeasures, measureLayers } from "../evaluate/layer-sensitivity.ts";
import { layerSqnr } from "../evaluate/layer-sqnr.ts";
import { datasetFor, type ModelFile } from "../evaluate/model-file.ts";
import { nearChanceHint } from "../evaluate/near-chance.ts";
import { sameLabelHint } from "../evaluate/same-label.ts";
import type { Accuracy } from "../evaluate/score.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph, ValueType } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { checkOrder } from "../options/check-order.ts";
import { classesOf, findLogits } from "../passes/class-scores.ts";
import { freeBatch } from "../passes/free-batch.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import { separateStatistics } from "../passes/separate-statistics.ts";
import type { Folded } from "../quantizers/fold.ts";
import { recognizeQuantizers } from "../quantizers/recognize.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withPrograms } from "../run/with-program.ts";
import { loadCheckpoint } from "../training/checkpoint.ts";
import { type ModelVerification, verifyModel, writeModel } from "./export-model.ts";
import type { QuantizeJob } from "./job.ts";
import { prepareFloat, quantizeFloat, sitesOf } from "./quantize-float.ts";
import { checkTraining } from "./train-model.ts";
import { type TrainedModel, trainModels } from "./train-models.ts";

/** Top-1 accuracies by stage of the run, in per cent; null where the run has no such stage, it was not measured (see the option `accuracies`), or there are no labels. */
export interface Top1 {
  readonly float: number | null;
  readonly ptq: number | null;
  readonly trained: number | null;
  readonly quantized: number | null;
  readonly deployed: number | null;
}

/** How long ONNX Runtime takes, in milliseconds: medians. */
export interface Latency {
  /** For one sample. */
  readonly batch1: number;
  /** For a batch of 256. */
  readonly batch256: number;
}

/** What `quantizeModel` gives: the verified file, and all that its report is made of. */
export interface QuantizeOutcome {
  /** The exported file, verified. */
  readonly bytes: Uint8Array;
  /** The model with its quantizers as trained, normalization unfolded; of method "float" the float model. */
  readonly trained: Graph;
  readonly top1: Top1;
  /** Where no accuracy could be measured: by stage, the outputs' distances to the float model's. */
  readonly fidelity: ReadonlyMap<string, readonly OutputDistance[]> | undefined;
  /** The output of class scores, if there is one. */
  readonly scores: string | undefined;
  /** Absent where nothing was trained. */
  readonly training: TrainedModel | undefined;
  /** How near the file comes to what was trained; absent where nothing was quantized. */
  readonly verification: ModelVerification | undefined;
  /** By layer: SQNR of its output in the quantized model against the float model, dB. */
  readonly layerSqnrDb: ReadonlyMap<string, number>;
  /** Each layer's sensitivity and the histogram of its input. */
  readonly layerMeasures: LayerMeasures;
  readonly latencyMs: { readonly float: Latency; readonly deployed: Latency };
  readonly seconds: { readonly calibration: number; readonly training: number; readonly evaluation: number };
  /** How many samples were used of each split, after `limit`. */
  readonly trainSamples: number;
  readonly testSamples: number;
}

const verificationSamples = 256;

/**
 * A whole run in memory: calibrates, quantizes, trains, exports and verifies. It writes no file but the checkpoints that the job
 * asks for. Throws as `quantizeFile` does: VERIFICATION if the exported file does not do in the runtime what was trained.
 */
export async function quantizeModel(job: QuantizeJob, context: Context): Promise<QuantizeOutcome> {
  const { method, outputs } = job.options;
  const clock = createClock();
  const float = separateStatistics(withFreeBatch(job.model.graph));
  const original = writeOnnx({ ...job.model, graph: float }, { opset: Math.max(job.model.origin.opset, 13) });
  const train = dataFor(job, job.source.train, float);
  const test = dataFor(job, job.source.test, float);
  const quantizable = method === "float" ? float : recognizeQuantizers(float);
  const attended = selectOutputs(float, outputs);
  await checkEarly(job, selectOutputs(quantizable, outputs), train);
  const scores = scoresOf(job, attended, test);
  const isScored = test.hasLabels && scores !== undefined;
  if (test.hasLabels && !isScored) context.onNote?.(unusedLabels(attended, test));
  const evaluate = async (graph: Graph, name: string): Promise<Accuracy | null> =>
    isScored
      ? clock.time("evaluation", () =>
          evaluateGraph(selectOutputs(graph, outputs), test, job.preprocess, context, `evaluate ${name}`),
        )
      : null;
  const evaluateStage = async (graph: Graph, name: string): Promise<number | null> =>
    job.options.accuracies === "all" ? ((await evaluate(graph, name))?.top1 ?? null) : null;

  const accuracy = await evaluate(float, "float");
  const hint = accuracy ? hintOf(accuracy, classesOf(attended)) : undefined;
  if (hint !== undefined) context.onNote?.(hint);
  const prepared = method === "float" ? float : prepareFloat(quantizable, job.options, context);
  const start =
    method === "float" ? float : await clock.time("calibration", () => quantizeFloat(job, prepared, train, context));
  writeModel(job.model, start, job.options);
  const ptqTop1 = method === "float" ? null : await evaluateStage(start, "ptq");
  const training =
    method === "ptq" ? undefined : await clock.time("training", () => trainModels(job, start, float, train, context));
  const trained = training?.model ?? start;
  const trainedTop1 = training ? await evaluateStage(trained, "trained") : null;

  const written = writeModel(job.model, trained, job.options);
  const folded = written.quantized?.folded;
  const samples = await takeBatches(test, job.preprocess, verificationSamples, batchThatFits(float));
  const verification = await clock.time("evaluation", () =>
    verifyModel(written, trained, samples, job, scores, context),
  );
  const quantizedTop1 = folded ? await evaluateStage(folded.graph, "quantized") : null;
  const measured = await clock.time("evaluation", () =>
    measureDeployed(job, float, original, written.bytes, test, isScored ? scores : undefined, context),
  );
  const layerSqnrDb = folded
    ? await clock.time("evaluation", () =>
        layerSqnr(prepared === quantizable ? float : prepared, folded.graph, layerOutputs(folded), samples, context),
      )
    : new Map<string, number>();
  const layerMeasures = await clock.time("evaluation", () =>
    measureLayers(selectOutputs(trained, outputs), samples[0], context),
  );
  const stages: Stages =
    job.options.accuracies === "all"
      ? {
          ...(method !== "float" && { ptq: start }),
          ...(training && { trained }),
          ...(folded && { quantized: folded.graph }),
        }
      : {};
  const fidelity = isScored
    ? undefined
    : await clock.time("evaluation", () => fidelityOf(job, attended, stages, written.bytes, test, context));
  return {
    bytes: written.bytes,
    trained,
    top1: {
      float: accuracy?.top1 ?? null,
      ptq: ptqTop1,
      trained: trainedTop1,
      quantized: quantizedTop1,
      deployed: measured.top1,
    },
    fidelity,
    scores,
    training,
    verification,
    layerSqnrDb,
    layerMeasures,
    latencyMs: measured.latencyMs,
    seconds: clock.seconds,
    trainSamples: train.length,
    testSamples: test.length,
  };
}

/** What can be known to be wrong before anything is computed. */
async function checkEarly(
  { options, later = [], checkpoints }: QuantizeJob,
  float: Graph,
  train: Dataset,
): Promise<void> {
  if (options.method !== "float") sitesOf(float, options);
  if (options.method === "ptq") return;
  checkOrder([options, ...later]);
  for (const stage of [options, ...later]) checkTraining({ options: stage }, float, train);
  if (checkpoints?.resume) await loadCheckpoint(checkpoints.storage, checkpoints.fingerprint);
}

/** The first output, if it holds class scores: without labels, one that the loss "mse" follows may be anything. */
function scoresOf({ options }: QuantizeJob, float: Graph, test: Dataset): string | undefined {
  const isFollowed = options.loss === "mse" && !test.hasLabels;
  return isFollowed || findLogits(float) === undefined ? undefined : float.outputs[0];
}

function unusedLabels({ outputs: [output], values }: Graph, { name }: Dataset): string {
  return `The labels of "${name}" are not used: output "${output}" is [${(values.get(output)?.shape ?? []).join(", ")}], no class scores. What is measured is the distance to the float model. Where another output holds the scores, name it with --outputs.`;
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

/** What the float model's accuracy says of the data. */
const hintOf = (accuracy: Accuracy, classes: number): string | undefined =>
  sameLabelHint(accuracy, classes) ?? nearChanceHint(accuracy.top1, classes, accuracy.samples);

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

/** What each layer gives, by layer. */
const layerOutputs = ({ layers }: Folded): ReadonlyMap<string, string> =>
  new Map(layers.map(({ name, output }) => [name, output]));

type Stages = Readonly<Record<string, Graph>>;

async function fidelityOf(
  { options, preprocess, openDeployed }: QuantizeJob,
  float: Graph,
  stages: Stages,
  bytes: Uint8Array,
  dataset: Dataset,
  context: Context,
): Promise<QuantizeOutcome["fidelity"]> {
  const file = await openDeployed(bytes);
  const graphs = [float, ...Object.values(stages).map((graph) => selectOutputs(graph, options.outputs))];
  const measured = { outputs: float.outputs, preprocess, batchSize: batchThatFits(float) };
  const settings = signalOf(context);
  try {
    return await withPrograms(graphs.map(removeDeadNodes), context, async (programs) => {
      const [first, ...rest] = programs.map(
        (program): RunModel =>
          (inputs) =>
            program.run(inputs, settings),
      );
      const runs = new Map(Object.keys(stages).map((stage, i) => [stage, rest[i]]));
      runs.set("deployed", (inputs) => file.run(inputs, float.outputs));
      return measureFidelity(first, runs, dataset, measured, context);
    });
  } finally {
    await file.dispose();
  }
}

/** Accuracy of the exported file in ONNX Runtime, and its latency in turn with the float model's. */
async function measureDeployed(
  job: QuantizeJob,
  graph: Graph,
  float: Uint8Array,
  bytes: Uint8Array,
  dataset: Dataset,
  scores: string | undefined,
  context: Context,
): Promise<Pick<QuantizeOutcome, "latencyMs"> & { top1: number | null }> {
  const opened: ModelFile[] = [];
  const open = async (file: Uint8Array): Promise<ModelFile> => {
    const model = await job.openDeployed(file);
    opened.push(model);
    return model;
  };
  const { onProgress } = context;
  const part = batchThatFits(graph, 256);
  try {
    const [original, deployed] = [await open(float), await open(bytes)];
    const options = {
      preprocess: job.preprocess,
      batchSize: batchThatFits(graph),
      phase: "evaluate deployed",
      ...(onProgress ? { onProgress } : {}),
      ...signalOf(context),
    };
    const top1 =
      scores === undefined ? null : (await evaluateModel(deployed, dataset, { ...options, output: scores })).top1;
    return { top1, latencyMs: await latencies(original, deployed, dataset, job.preprocess, part) };
  } finally {
    await Promise.all(opened.map((model) => model.dispose()));
  }
}

/** Where memory does not hold a batch of 256 at once, it counts as so many times the part that fits. */
async function latencies(
  float: ModelFile,
  deployed: ModelFile,
  dataset: Dataset,
  preprocess: Preprocess,
  part: number,
): Promise<QuantizeOutcome["latencyMs"]> {
  const measure = async (batchSize: number): Promise<readonly number[]> => {
    const size = Math.min(batchSize, part);
    const order = Int32Array.from({ length: size }, (_, i) => i % dataset.length);
    const parts: ReadonlyMap<string, Tensor>[] = [];
    for await (const { inputs } of batches(dataset, { batchSize: size, preprocess, order })) parts.push(inputs);
    const times = await measureLatency([float, deployed], parts, batchSize === 1 ? { most: 200 } : {});
    return times.map((time) => (time * batchSize) / size);
  };
  const [one, many] = [await measure(1), await measure(256)];
  return {
    float: { batch1: one[0], batch256: many[0] },
    deployed: { batch1: one[1], batch256: many[1] },
  };
}
