// Block-AP: weights, norms, scales and zero points of one block after the other train to give what the float block gives.
import { calibrationBatches } from "../../calibration/calibration-data.ts";
import type { Phase, RoundingTraining } from "../../reconstruction/phase.ts";
import { type Reconstructed, reconstruct } from "../../reconstruction/reconstruct.ts";
import type { Context } from "../../run/context.ts";
import type { MethodJob } from "../method.ts";
import { type EfficientQatOptions, heldOutOf } from "./options.ts";

/** The share of their start that rates end at. */
const rateFloor = 1 / 20;

export async function blockAp(
  { model, data, options, checkpoints }: MethodJob<EfficientQatOptions>,
  context: Context,
): Promise<Reconstructed> {
  const { batch, accumulate, unit, cacheMemory, cacheFloats } = options;
  const heldOut = heldOutOf(options);
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
      accumulate,
      heldOut,
      cacheBytes: cacheMemory * 2 ** 20,
      cacheFloats,
      isAsTrained: true,
      checkpoints,
    },
    context,
  );
}

/** Of weights, and of scales and zero points, at one step; they fall with the cube root of the steps. */
const [weightRate, scaleRate] = [0.9, 0.06];

/** `perEpoch`: steps of an epoch. */
function phaseOf(options: EfficientQatOptions, perEpoch: number): Phase {
  const { epochs, leastScale, scaleType } = options;
  const iterations = Math.max(1, Math.round(epochs * perEpoch));
  return {
    rounding: {
      variable: "direct",
      subset: { by: "magnitude", share: 1 },
      optimizer: "adam",
      ...ratesOf(options, iterations),
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
    loss: { kind: "mse", isMean: true, isRelative: options.errors === "relative" },
    iterations,
  };
}

type Rates = Pick<RoundingTraining, "learningRate" | "scaleRate" | "rateUnit" | "searchesRates">;

function ratesOf({ weightLr, scaleLr, rates }: EfficientQatOptions, iterations: number): Rates {
  return {
    learningRate: weightLr ?? weightRate / Math.cbrt(iterations),
    ...(scaleLr !== 0 && { scaleRate: scaleLr ?? scaleRate / Math.cbrt(iterations) }),
    rateUnit: {
      weights: weightLr === undefined ? "scale/√inputs" : "one",
      scales: scaleLr === undefined ? "scale/√scales" : "one",
    },
    searchesRates: rates === "searched",
  };
}
