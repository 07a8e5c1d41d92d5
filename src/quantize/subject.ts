// What a run works on: the float model, ready for many samples at once, and the data that fits it.
import { type Dataset, limit } from "../data/dataset.ts";
import { fixedBatchOf } from "../evaluate/batch-that-fits.ts";
import { type LabelUse, labelUse, signsHint } from "../evaluate/label-use.ts";
import { datasetFor } from "../evaluate/model-file.ts";
import { withSizesOf } from "../evaluate/sizes-of-data.ts";
import { inputTypes } from "../ir/batch-axes.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph, ValueType } from "../ir/graph.ts";
import { methodOf } from "../methods/index.ts";
import type { MethodModel } from "../methods/method.ts";
import { opsetFor, writeOnnx } from "../onnx/write.ts";
import { isQuantized } from "../options/run-options.ts";
import { type ClassScores, scoresAt, scoresWithoutLabels } from "../passes/class-scores.ts";
import { freeBatch } from "../passes/free-batch.ts";
import { plainProducts } from "../passes/plain-products.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import { separateStatistics } from "../passes/separate-statistics.ts";
import { withInputTypes } from "../passes/with-input-types.ts";
import { prepareGraph } from "../quantizers/prepare-graph.ts";
import type { Context } from "../run/context.ts";
import type { QuantizeJob } from "./job.ts";

export interface Subject {
  /** With the sizes of the test data. */
  readonly float: Graph;
  /** By input: as the exported model takes it, with the sizes open that the model as given leaves open. */
  readonly inputs: ReadonlyMap<string, ValueType>;
  /** The float model as a file, whose latency is compared. */
  readonly file: () => Uint8Array;
  /** `float` with the outputs that the figures are of. */
  readonly attended: Graph;
  /** What the first method is given, with the sizes of the training data. */
  readonly start: MethodModel;
  readonly train: Dataset;
  readonly test: Dataset;
  /** The class scores of the first output, if it has any. */
  readonly scores: ClassScores | undefined;
  /** What the test data's labels are for. */
  readonly labels: LabelUse;
}

/** Throws BAD_MODEL or BAD_DATA where model and data cannot be run, or not together. */
export function openSubject(job: QuantizeJob): Subject {
  const { quantize } = job.options;
  const open = separateStatistics(withFreeBatch(job));
  const [train, test] = [dataFor(job, job.source.train, open), dataFor(job, job.source.test, open)];
  const float = withSizesOf(open, test, job.preprocess);
  const original = withSizesOf(open, train, job.preprocess);
  const graph = isQuantized(job.options) ? prepareGraph(original, quantize) : original;
  const attended = selectOutputs(float, quantize.outputs);
  const labels = labelUse(attended, test);
  return {
    float,
    inputs: inputTypes(open),
    file: () => {
      const graph = plainProducts(open);
      return writeOnnx({ ...job.model, graph }, { opset: opsetFor(graph, Math.max(job.model.origin.opset, 13)) });
    },
    attended,
    start: { graph, original, float: graph, quantize, outputs: quantize.outputs },
    train,
    test,
    scores: scoresOf(job, attended, labels),
    labels,
  };
}

/** A graph that a method made, with the sizes of the test data. */
export const forTest = ({ float }: Subject, graph: Graph): Graph => withInputTypes(graph, inputTypes(float));

/** Many samples at once where the model can; throws BAD_MODEL, saying why, where it cannot and a method needs them. */
function withFreeBatch(job: QuantizeJob): Graph {
  const result = freeBatch(job.model.graph);
  const fixed = fixedBatchOf(result.graph);
  const reason = `The model takes ${fixed} sample${fixed === 1 ? "" : "s"} at a time, and its batch cannot be made free: ${result.reason ?? ""}`;
  if (fixed === 0) throw new FrostbitError("BAD_MODEL", `${reason} Export it with a dynamic batch dimension.`);
  if (fixed === undefined) return result.graph;
  const training = job.options.methods.map(methodOf).find((method) => method.training !== "none");
  if (training)
    throw new FrostbitError(
      "BAD_MODEL",
      `${reason} ${training.name} trains on many at once. Export it with a dynamic batch dimension, or choose methods that do not train, such as ptq.`,
    );
  return result.graph;
}

/** As many of the dataset's samples as `limit` says, and whole batches where the model's is fixed. Throws BAD_DATA where it does not fit the model. */
function dataFor({ options, preprocess }: QuantizeJob, dataset: Dataset, graph: Graph): Dataset {
  const data = limit(
    datasetFor({ inputs: inputTypes(graph) }, dataset, preprocess),
    options.limit ?? Number.POSITIVE_INFINITY,
  );
  const batch = fixedBatchOf(graph) ?? 1;
  if (data.length >= batch) return limit(data, data.length - (data.length % batch));
  throw new FrostbitError(
    "BAD_DATA",
    `"${dataset.name}" has ${data.length} samples, and the model takes ${batch} at a time. Give more samples, or export the model with a dynamic batch dimension.`,
  );
}

/** Without labels, an output that the loss "mse" follows may be anything; with measured values it is no class scores. */
function scoresOf({ options }: QuantizeJob, attended: Graph, use: LabelUse): ClassScores | undefined {
  if (use.kind === "classes") return scoresAt(attended, use.place);
  const losses = options.methods.map((step) => {
    const { training } = methodOf(step);
    return training === "none" ? undefined : training.loss(step.options);
  });
  return use.kind === "values" || losses.includes("mse") ? undefined : scoresWithoutLabels(attended);
}

/** Where labels are not used, or may not be what they are taken for. */
export function noteLabels({ test, labels }: Subject, { metric }: QuantizeJob, context: Context): void {
  if (metric) return;
  const hint = signsHint(labels.kind, test);
  if (hint !== undefined) context.onNote?.(hint);
  if (labels.kind !== "none" || !labels.areGiven) return;
  context.onNote?.(
    `The labels of "${test.name}" are not used: ${labels.reason} What is measured is the distance to the float model.`,
  );
}
