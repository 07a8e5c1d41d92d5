// Post-training quantization: ranges from a seeded sample of the training data.
import { calibrate } from "../calibration/calibrate.ts";
import { batches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { batchThatFits } from "../evaluate/batch-that-fits.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { correctBiases } from "../methods/bias-correction/correct-biases.ts";
import { equalizeLayers } from "../methods/equalization/equalize-layers.ts";
import { insertQuantizers } from "../quantizers/insert.ts";
import { powerOfTwoQparams } from "../quantizers/qparams.ts";
import type { QuantizeOptions } from "../quantizers/quantize-options.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";
import { findSites, type Sites, withoutQuantized } from "../quantizers/sites.ts";
import type { Context } from "../run/context.ts";
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

/** Ranges from a seeded sample of the training data; quantizers that the model has already keep theirs. */
export async function quantizeFloat(
  { options, preprocess }: QuantizeJob,
  float: Graph,
  dataset: Dataset,
  context: Context,
): Promise<Graph> {
  const sites = sitesOf(float, options);
  noteQuantized(float, context);
  if (sites.weights.length + sites.activations.length === 0) {
    if (options.prepare.includes("bias-correction")) context.onNote?.(nothingToCorrect);
    return float;
  }
  const count = Math.min(options.calibrationSamples, dataset.length);
  const order = shuffledOrder(dataset.length, options.seed, calibrationEpoch).slice(0, count);
  async function* calibrationBatches(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
    for await (const batch of batches(dataset, { batchSize: batchThatFits(float), preprocess, order }))
      yield batch.inputs;
  }
  const observed = { observer: options.observer, calibrationSamples: count };
  const qparams = await calibrate(float, sites, calibrationBatches, observed, context);
  const isPowers = options.method !== "ptq" && options.qparamTraining === "tqt";
  const chosen = isPowers ? new Map([...qparams].map(([name, value]) => [name, powerOfTwoQparams(value)])) : qparams;
  const quantized = insertQuantizers(float, sites, chosen);
  if (!options.prepare.includes("bias-correction")) return quantized;
  return correctBiases(quantized, float, calibrationBatches, context);
}

const nothingToCorrect =
  "Bias correction changed nothing: all layers are quantized already, and what they gave before is not known. Correct the biases of the float model where it is quantized.";

/** What options say of bits and ranges is not for layers whose quantizers the file brings. */
function noteQuantized(float: Graph, context: Context): void {
  const weights = quantizersOf(float).filter(({ axis }) => axis !== undefined);
  const bits = [...new Set(weights.map((quantizer) => quantizer.bits))].sort();
  if (weights.length > 0)
    context.onNote?.(
      `The weights of ${weights.length} layer${weights.length === 1 ? " are" : "s are"} quantized already: they keep their ${bits.join(" and ")} bits and their ranges, whatever --weights and --layers say.`,
    );
}

/** The float model as it is quantized: the same function, its layers' outputs scaled where `prepare` says so. */
export function prepareFloat(float: Graph, { prepare }: QuantizeOptions, context: Context): Graph {
  if (!prepare.includes("cross-layer-equalization")) return float;
  const { graph, pairs } = equalizeLayers(float);
  if (pairs === 0)
    context.onNote?.(
      "Cross-layer equalization found no two layers to equalize: between them there may be only a normalization, Relu, LeakyRelu, PRelu and pooling.",
    );
  return graph;
}
