// Methods that reconstruct a network unit by unit: they differ in what trains, from which inputs, in how many phases.
import type { z } from "zod";
import { calibrationBatches, calibrationCount } from "../calibration/calibration-data.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { iterationsOf, type ReconstructionOptions } from "../reconstruction/options.ts";
import type { Phase, RoundingTraining } from "../reconstruction/phase.ts";
import { rangeActivations, rangeWeights } from "../reconstruction/ranges.ts";
import { reconstruct } from "../reconstruction/reconstruct.ts";
import { roundedLayers } from "../rounding/grid.ts";
import { learningRateOf } from "../rounding/rounding-schedule.ts";
import type { Context } from "../run/context.ts";
import type { Method, MethodJob, MethodModel, UnusedRule } from "./method.ts";

export interface Reconstruction<Options extends ReconstructionOptions> {
  readonly name: string;
  readonly summary: string;
  /** Those of reconstruction among them. */
  readonly options: z.ZodObject & z.ZodType<Options>;
  readonly phases: (options: Options) => readonly Phase[];
  readonly unused: readonly UnusedRule<Options>[];
}

/** The fewest samples: half a batch of one trains, the other is held out. */
const fewest = 2;

export function reconstructionMethod<Options extends ReconstructionOptions>(
  what: Reconstruction<Options>,
): Method<Options> {
  const { name, summary, options, unused } = what;
  return {
    name,
    summary,
    options,
    phase: "rounding",
    calledBy: [],
    training: "none",
    resumes: () => true,
    unused: [
      { options: ["preset"], by: "iterations", isUnused: ({ iterations }) => iterations !== undefined },
      ...unused,
    ],
    conflicts: () => [],
    check: (_, { train }) => {
      if (train.length < fewest)
        throw new FrostbitError(
          "BAD_DATA",
          `"${train.name}" has ${train.length} training samples; ${name} needs at least ${fewest}, one of which it holds out.`,
        );
    },
    run: async (job, context) => ({ model: await run(what, job, context) }),
  };
}

async function run<Options extends ReconstructionOptions>(
  { name, phases }: Reconstruction<Options>,
  job: MethodJob<Options>,
  context: Context,
): Promise<MethodModel> {
  const { model, data, options, checkpoints, scales } = job;
  if (roundedLayers(model.graph, model.float).length === 0) {
    context.onNote?.(`${name} changed nothing: all weights are quantized already, and keep their integers.`);
    return model;
  }
  const ranged = scales === "any" ? await withRanges(job, context) : model.graph;
  const counted = { calibrationSamples: options.roundingSamples };
  const samples = calibrationCount(data, counted);
  const batch = Math.max(1, Math.min(options.batch, Math.floor(samples / 2)));
  const { graph } = await reconstruct(
    {
      quantized: ranged,
      float: model.float,
      batches: calibrationBatches(model.float, data, { ...counted, batchSize: batch }, context),
      phases: scales === "any" ? phases(options) : phases(options).flatMap(withFixedSteps),
      unit: options.unit,
      batch,
      cacheBytes: options.cacheMemory * 2 ** 20,
      cacheFloats: options.cacheFloats,
      checkpoints,
    },
    context,
  );
  return { ...model, graph };
}

/** Training that follows may want scales that are powers of two: then they stay those of calibration. */
const withFixedSteps = ({ stepRate: _, ...phase }: Phase): readonly Phase[] => (phase.rounding ? [phase] : []);

async function withRanges(
  { model, data, options }: MethodJob<ReconstructionOptions>,
  context: Context,
): Promise<Graph> {
  const { graph, float, quantize } = model;
  const ranged = options.ranges === "lp" ? rangeWeights(graph, float) : graph;
  if (options.activationRanges === "calibrated") return ranged;
  const batches = calibrationBatches(float, data, quantize, context);
  return rangeActivations({ quantized: ranged, float, batches, samples: calibrationCount(data, quantize) }, context);
}

export const roundingOf = (options: ReconstructionOptions): RoundingTraining => ({
  learningRate: learningRateOf({ ...options, iterations: iterationsOf(options) }),
  lambda: options.lambda,
  betaStart: options.betaStart,
  betaEnd: options.betaEnd,
  roundingWarmup: options.roundingWarmup,
});
