// What a run will hold in memory, estimated from its graphs before anything of it runs.
import { batchThatFits } from "../evaluate/batch-that-fits.ts";
import type { Graph } from "../ir/graph.ts";
import { sitesOf } from "../methods/ptq/method.ts";
import { isQuantized } from "../options/run-options.ts";
import { bytesOf, bytesOfWeights, peakBytes } from "../passes/peak-bytes.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import type { QuantizeOptions } from "../quantizers/quantize-options.ts";
import type { MemoryEstimate, QuantizeJob } from "./job.ts";
import { plannedStep } from "./planned-graph.ts";
import type { Subject } from "./subject.ts";

/** The float model and the quantized one here, and each in ONNX Runtime. */
const copiesOfWeights = 4;

/** By phase; a step is planned as `quantizeModel` will plan it, and what cannot train is refused as there. */
export function estimateMemory({ options }: QuantizeJob, { float, start }: Subject): readonly MemoryEstimate[] {
  const weights = copiesOfWeights * bytesOfWeights(float);
  const forward = peakBytes(setBatchSize(float, batchThatFits(float)));
  const step = plannedStep(start.original, options);
  return [
    { phase: "evaluation", bytes: weights + forward },
    ...(isQuantized(options)
      ? [{ phase: "calibration" as const, bytes: weights + forward + observedBytes(start.graph, options.quantize) }]
      : []),
    ...(step ? [{ phase: "training" as const, bytes: weights + bytesOfWeights(step) + peakBytes(step) }] : []),
  ];
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
