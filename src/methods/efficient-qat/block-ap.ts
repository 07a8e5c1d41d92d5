// Block-AP: weights, norms, scales and zero points of one block after the other train to give what the float block gives.
import { calibrationBatches } from "../../calibration/calibration-data.ts";
import type { Phase } from "../../reconstruction/phase.ts";
import { type Reconstructed, reconstruct } from "../../reconstruction/reconstruct.ts";
import type { Context } from "../../run/context.ts";
import type { MethodJob } from "../method.ts";
import type { EfficientQatOptions } from "./options.ts";

/** The share of their start that rates end at. */
const rateFloor = 1 / 20;

export async function blockAp(
  { model, data, options, checkpoints }: MethodJob<EfficientQatOptions>,
  context: Context,
): Promise<Reconstructed> {
  const { batch, unit, cacheMemory, cacheFloats } = options;
  const heldOut = Math.ceil(options.validationSamples / batch) * batch;
  const samples = Math.floor(Math.min(options.trainingSamples, data.train.length - heldOut) / batch) * batch;
  const counted = { calibrationSamples: samples + heldOut, batchSize: batch };
  return reconstruct(
    {
      quantized: model.graph,
      float: model.float,
      batches: calibrationBatches(model.float, data, counted, context),
      phases: [phaseOf(options, samples / batch)],
      unit,
      batch,
      heldOut,
      cacheBytes: cacheMemory * 2 ** 20,
      cacheFloats,
      checkpoints,
    },
    context,
  );
}

/** `perEpoch`: steps of an epoch. */
function phaseOf(options: EfficientQatOptions, perEpoch: number): Phase {
  const { epochs, weightLr = 1e-3, scaleLr = 1e-3, leastScale, scaleType } = options;
  return {
    rounding: {
      variable: "direct",
      subset: { by: "magnitude", share: 1 },
      optimizer: "adam",
      learningRate: weightLr,
      scaleRate: scaleLr,
      schedule: "cosine",
      rateFloor,
      keep: "validated",
      validateEvery: perEpoch,
      leastScale,
      ...(scaleType === "float16" && { scaleType }),
      lambda: 0,
      betaStart: 20,
      betaEnd: 2,
      roundingWarmup: 0,
    },
    trainsNorms: true,
    inputs: "quantized",
    activations: "float",
    drop: 0,
    loss: { kind: "mse", isMean: true },
    iterations: Math.max(1, Math.round(epochs * perEpoch)),
  };
}
