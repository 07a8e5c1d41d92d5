// What a run works on: the float model, ready for many samples at once, and the data that fits it.
import { type Dataset, limit } from "../data/dataset.ts";
import { datasetFor, fixedBatch } from "../evaluate/model-file.ts";
import { inputTypes } from "../ir/batch-axes.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { methodOf } from "../methods/index.ts";
import type { MethodModel } from "../methods/method.ts";
import { writeOnnx } from "../onnx/write.ts";
import { isQuantized } from "../options/run-options.ts";
import { findLogits } from "../passes/class-scores.ts";
import { freeBatch } from "../passes/free-batch.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import { separateStatistics } from "../passes/separate-statistics.ts";
import { prepareGraph } from "../quantizers/prepare-graph.ts";
import type { Context } from "../run/context.ts";
import type { QuantizeJob } from "./job.ts";

export interface Subject {
  readonly float: Graph;
  /** `float` as a file, whose latency is compared. */
  readonly file: Uint8Array;
  /** `float` with the outputs that the figures are of. */
  readonly attended: Graph;
  /** What the first method is given. */
  readonly start: MethodModel;
  readonly train: Dataset;
  readonly test: Dataset;
  /** The output of class scores, if there is one. */
  readonly scores: string | undefined;
  /** Whether accuracies can be measured. */
  readonly isScored: boolean;
}

/** Throws BAD_MODEL or BAD_DATA where model and data cannot be run, or not together. */
export function openSubject(job: QuantizeJob): Subject {
  const { quantize } = job.options;
  const float = separateStatistics(withFreeBatch(job.model.graph));
  const [train, test] = [dataFor(job, job.source.train, float), dataFor(job, job.source.test, float)];
  const graph = isQuantized(job.options) ? prepareGraph(float) : float;
  const attended = selectOutputs(float, quantize.outputs);
  const scores = scoresOf(job, attended, test);
  return {
    float,
    file: writeOnnx({ ...job.model, graph: float }, { opset: Math.max(job.model.origin.opset, 13) }),
    attended,
    start: { graph, original: float, float: graph, quantize, outputs: quantize.outputs },
    train,
    test,
    scores,
    isScored: test.hasLabels && scores !== undefined,
  };
}

/** Training and evaluation run many samples at once; throws BAD_MODEL, saying why, where the model cannot. */
function withFreeBatch(graph: Graph): Graph {
  const result = freeBatch(graph);
  const leading = fixedBatch({ inputs: inputTypes(result.graph) });
  if (leading === undefined) return result.graph;
  throw new FrostbitError(
    "BAD_MODEL",
    `The model takes ${leading} sample${leading === 1 ? "" : "s"} at a time, and its batch cannot be made free: ${result.reason ?? ""} Export it with a dynamic batch dimension.`,
  );
}

/** As many of the dataset's samples as `limit` says. Throws BAD_DATA where it does not fit the model. */
const dataFor = ({ options, preprocess }: QuantizeJob, dataset: Dataset, graph: Graph): Dataset =>
  limit(datasetFor({ inputs: inputTypes(graph) }, dataset, preprocess), options.limit ?? Number.POSITIVE_INFINITY);

/** The first output, if it holds class scores: without labels, one that the loss "mse" follows may be anything. */
function scoresOf({ options }: QuantizeJob, float: Graph, test: Dataset): string | undefined {
  const losses = options.methods.map((step) => {
    const { training } = methodOf(step);
    return training === "none" ? undefined : training.loss(step.options);
  });
  const isFollowed = losses.includes("mse") && !test.hasLabels;
  return isFollowed || findLogits(float) === undefined ? undefined : float.outputs[0];
}

export function noteUnusedLabels({ attended, test, isScored }: Subject, context: Context): void {
  if (!test.hasLabels || isScored) return;
  const [output] = attended.outputs;
  context.onNote?.(
    `The labels of "${test.name}" are not used: output "${output}" is [${(attended.values.get(output)?.shape ?? []).join(", ")}], no class scores. What is measured is the distance to the float model. Where another output holds the scores, name it with --outputs.`,
  );
}
