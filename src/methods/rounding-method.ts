// Methods that round weights layer by layer from second moments: they differ in how they solve a layer.
import type { z } from "zod";
import { calibrationBatches, calibrationCount } from "../calibration/calibration-data.ts";
import { sumParts } from "../distributed/sum-of-parts.ts";
import { evaluationBatch } from "../evaluate/batch-that-fits.ts";
import { FrostbitError } from "../ir/errors.ts";
import { roundedLayers } from "../rounding/grid.ts";
import type { MomentsOptions } from "../rounding/options.ts";
import type { RoundingSolver } from "../rounding/problem.ts";
import { roundLayers, streamBytes } from "../rounding/round-layers.ts";
import { anyScale, powersOfTwo } from "../rounding/search-ranges.ts";
import type { Context } from "../run/context.ts";
import type { Method, MethodData, MethodJob, MethodModel } from "./method.ts";

export interface LayerRounding<Options extends MomentsOptions> {
  readonly name: string;
  readonly summary: string;
  /** Those of second moments among them. */
  readonly options: z.ZodObject & z.ZodType<Options>;
  readonly ranges: (options: Options) => "calibrated" | "output-error";
  readonly solver: (options: Options) => RoundingSolver;
}

export function roundingMethod<Options extends MomentsOptions>(what: LayerRounding<Options>): Method<Options> {
  const { name, summary, options } = what;
  return {
    name,
    summary,
    options,
    phase: "rounding",
    grids: [],
    calledBy: [],
    training: "none",
    resumes: () => false,
    unused: [],
    conflicts: () => [],
    check: (_, { train }) => {
      if (train.length < sumParts)
        throw new FrostbitError(
          "BAD_DATA",
          `"${train.name}" has ${train.length} training samples; ${name} needs at least ${sumParts}, of which it holds one out.`,
        );
    },
    heldBytes: ({ float }, { roundingSamples }, samples) => streamBytes(float, Math.min(samples, roundingSamples)),
    run: async (job, context) => ({ model: await round(what, job, context) }),
  };
}

async function round<Options extends MomentsOptions>(
  { name, ranges, solver }: LayerRounding<Options>,
  { model, data, options, scales }: MethodJob<Options>,
  context: Context,
): Promise<MethodModel> {
  const { graph, float } = model;
  if (roundedLayers(graph, float).length === 0) {
    context.onNote?.(`${name} changed nothing: all weights are quantized already, and keep their integers.`);
    return model;
  }
  const search = scales === "powers-of-two" ? powersOfTwo : anyScale;
  const samples = calibrationCount(data, { calibrationSamples: options.roundingSamples });
  const job = {
    quantized: graph,
    float,
    batches: batchesOf(model, data, options, context),
    options: { ...options, roundingSamples: samples },
    search: ranges(options) === "calibrated" ? undefined : search,
    solve: solver(options),
  };
  return { ...model, graph: (await roundLayers(job, context)).graph };
}

/** Enough of them for one or more to be held out. */
function batchesOf({ float }: MethodModel, data: MethodData, { roundingSamples }: MomentsOptions, context: Context) {
  const counted = { calibrationSamples: roundingSamples };
  const batchSize = Math.min(
    evaluationBatch,
    Math.max(1, Math.floor(calibrationCount(data, counted) / (2 * sumParts))),
  );
  return calibrationBatches(float, data, { ...counted, batchSize }, context);
}
