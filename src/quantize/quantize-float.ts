// Post-training quantization: ranges from a seeded sample of the training data.
import { calibrate } from "../calibration/calibrate.ts";
import { batches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { batchThatFits } from "../evaluate/batch-that-fits.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { insertQuantizers } from "../quantizers/insert.ts";
import { powerOfTwoQparams } from "../quantizers/qparams.ts";
import type { QuantizeOptions } from "../quantizers/quantize-options.ts";
import { findSites, type Sites, withoutQuantized } from "../quantizers/sites.ts";
import type { Context } from "../training/context.ts";
import type { QuantizeJob } from "./job.ts";

/** The epoch that the calibration sample's order is drawn for: none that trains. */
const calibrationEpoch = -1;

/**
 * What is not quantized already. Throws BAD_MODEL where there is nothing to quantize, BAD_OPTION where `layers` names no
 * layer.
 */
export function sitesOf(float: Graph, options: QuantizeOptions): Sites {
  const sites = findSites(float, options);
  if (sites.weights.length > 0) return withoutQuantized(float, sites);
  throw new FrostbitError(
    "BAD_MODEL",
    "The model has no layer to quantize: no Conv, Gemm or MatMul with a constant weight that --layers leaves to be quantized. Run `frostbit inspect` to see why.",
  );
}

/** Quantizers that the model has already keep their ranges. */
export async function quantizeFloat(
  { options, preprocess }: QuantizeJob,
  float: Graph,
  dataset: Dataset,
  context: Context,
): Promise<Graph> {
  const sites = sitesOf(float, options);
  if (sites.weights.length + sites.activations.length === 0) return float;
  const count = Math.min(options.calibrationSamples, dataset.length);
  const order = shuffledOrder(dataset.length, options.seed, calibrationEpoch).slice(0, count);
  async function* calibrationBatches(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
    for await (const batch of batches(dataset, { batchSize: batchThatFits(float, 64), preprocess, order }))
      yield batch.inputs;
  }
  const observed = { observer: options.observer, calibrationSamples: count };
  const qparams = await calibrate(float, sites, calibrationBatches, observed, context);
  const isPowers = options.method !== "ptq" && options.qparamTraining === "tqt";
  const chosen = isPowers ? new Map([...qparams].map(([name, value]) => [name, powerOfTwoQparams(value)])) : qparams;
  return insertQuantizers(float, sites, chosen);
}
