// What a run will hold in memory, estimated from its graphs before anything of it runs.
import { batchThatFits, bytesPerSample, heldBytes } from "../evaluate/batch-that-fits.ts";
import type { Graph } from "../ir/graph.ts";
import { methodOf } from "../methods/index.ts";
import { sitesOf } from "../methods/ptq/method.ts";
import { isQuantized } from "../options/run-options.ts";
import { bytesOf, bytesOfWeights, peakBytes } from "../passes/peak-bytes.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import type { QuantizeOptions } from "../quantizers/quantize-options.ts";
import type { MemoryEstimate, QuantizeJob } from "./job.ts";
import { stepOfPrepared } from "./planned-graph.ts";
import type { Subject } from "./subject.ts";

/** The float model and the quantized one here, and each in ONNX Runtime. */
const copiesOfWeights = 4;

/** What the layers give in two models is held together. */
const fetchedBytes = (float: Graph): number => Math.min(heldBytes, 2 * bytesPerSample(float) * batchThatFits(float));

/** Methods that keep what passes between layers, of all samples. */
function heldByMethods({ options }: QuantizeJob, { start, train }: Subject): number {
  const held = options.methods.map((step) => methodOf(step).heldBytes(start, step.options, train.length));
  return Math.max(0, ...held);
}

/** By phase; a step is planned as `quantizeModel` will plan it, and what cannot train is refused as there. */
export function estimateMemory(job: QuantizeJob, subject: Subject, engine: string): readonly MemoryEstimate[] {
  const { options } = job;
  const { float, start } = subject;
  const weights = copiesOfWeights * bytesOfWeights(float);
  const forward = peakBytes(setBatchSize(float, batchThatFits(float)));
  const step = stepOfPrepared(start.graph, start.original, options);
  const held = heldByMethods(job, subject);
  return [
    { phase: "evaluation", bytes: weights + forward + fetchedBytes(float) },
    ...(held > 0 ? [{ phase: "rounding" as const, bytes: weights + forward + held }] : []),
    ...(isQuantized(options)
      ? [{ phase: "calibration" as const, bytes: weights + forward + observedBytes(start.graph, options.quantize) }]
      : []),
    ...(step
      ? [{ phase: "training" as const, bytes: weights + bytesOfWeights(step) + peakBytes(asKept(step, engine)) }]
      : []),
  ];
}

/** The native engine keeps the codes of what is quantized to 8 bits or fewer. */
function asKept(step: Graph, engine: string): Graph {
  if (engine !== "native") return step;
  const values = new Map(step.values);
  for (const { op, inputs, outputs } of step.nodes) {
    const [low, high] = [3, 4].map((i) => Number(step.constants.get(inputs[i])?.data[0]));
    const type = values.get(outputs[0]);
    if (op === "FakeQuantize" && type && high - low <= 255) values.set(outputs[0], { ...type, dtype: "uint8" });
  }
  return { ...step, values };
}

/** Histograms are made of whole values, those of a batch at once; ranges alone are found where the values are. */
function observedBytes(graph: Graph, options: QuantizeOptions): number {
  if (options.observer === "min-max" || options.observer === "moving-average") return 0;
  const { values } = setBatchSize(graph, batchThatFits(graph));
  const observed = new Set(sitesOf(graph, options).activations.map(({ value }) => value));
  return [...observed].reduce((sum, value) => {
    const type = values.get(value);
    return sum + (type ? bytesOf(type) : 0);
  }, 0);
}
