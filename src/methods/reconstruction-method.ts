// Methods that reconstruct a network unit by unit: they differ in what trains, from which inputs, in how many phases.
import type { z } from "zod";
import {
  type CalibrationBatches,
  type ChangedImages,
  calibrationBatches,
  calibrationCount,
} from "../calibration/calibration-data.ts";
import { checkMadeSamples, type MadeSamples, madeBatches, madeBytes } from "../calibration/made-samples.ts";
import type { Augmentation } from "../data/augment.ts";
import type { Dataset } from "../data/dataset.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { LevelGrid, QuantizeOptions } from "../quantizers/quantize-options.ts";
import { isFisher, type UnitLossSettings } from "../reconstruction/loss.ts";
import {
  type DropOptions,
  iterationsOf,
  needsRate,
  type ReconstructionOptions,
  roundingRateOf,
  scaleRateOf,
  stepRateOf,
  type WalkOptions,
} from "../reconstruction/options.ts";
import type { Phase, RoundingTraining } from "../reconstruction/phase.ts";
import { rangeActivations, rangeWeights, rangeWeightsByOutput } from "../reconstruction/ranges.ts";
import { heldOutOf, reconstruct } from "../reconstruction/reconstruct.ts";
import { roundedLayers } from "../rounding/grid.ts";
import { softRoundingOptions } from "../rounding/options.ts";
import { anyScale, powersOfTwo } from "../rounding/search-ranges.ts";
import type { Context } from "../run/context.ts";
import { streamBytes } from "../units/stream-bytes.ts";
import type { UnitKind } from "../units/units.ts";
import type { Conflict, Method, MethodJob, MethodResult, UnusedRule } from "./method.ts";

export interface Reconstruction<Options extends ReconstructionOptions> {
  readonly name: string;
  readonly summary: string;
  /** Those of reconstruction among them. */
  readonly options: z.ZodObject & z.ZodType<Options>;
  /** Grids of weights that it works on besides uniform ones. */
  readonly grids: readonly LevelGrid[];
  readonly phases: (options: Options, quantize: QuantizeOptions) => readonly Phase[];
  readonly unused: readonly UnusedRule<Options>[];
}

/** The fewest samples: half a batch of one trains, the other is held out. */
const fewest = 2;

export function reconstructionMethod<Options extends ReconstructionOptions>(
  what: Reconstruction<Options>,
): Method<Options> {
  const { name, summary, options, grids, unused } = what;
  return {
    name,
    summary,
    options,
    phase: "rounding",
    grids,
    calledBy: [],
    training: "none",
    resumes: () => true,
    unused: [
      { options: ["preset"], by: "iterations", isUnused: ({ iterations }) => iterations !== undefined },
      ...unusedByLearning,
      ...unused,
    ],
    conflicts: learningConflicts,
    check: ({ float, quantize: { weightGrid } }, { train }, { variable, scaleLr, calibration, augment }) => {
      if (calibration !== "data") checkMadeSamples(float, calibration);
      else if (augment.length > 0) checkImages(train, augment);
      if (weightGrid !== "uniform" && variable !== "direct")
        throw new FrostbitError(
          "BAD_OPTION",
          `variable is ${variable}, and weightGrid ${weightGrid}; weights on levels learn by their own value alone: variable direct.`,
        );
      if (weightGrid === "codebook" && scaleLr !== undefined && scaleLr > 0)
        throw new FrostbitError("BAD_OPTION", `scaleLr is ${scaleLr}; the scales and levels of a codebook stay.`);
      if (train.length < fewest)
        throw new FrostbitError(
          "BAD_DATA",
          `"${train.name}" has ${train.length} training samples; ${name} needs at least ${fewest}, one of which it holds out.`,
        );
    },
    heldBytes: ({ float }, given, samples) => {
      const [made, { copies = 1 } = {}] = [madeOf(given), changedOf(given)];
      const walked = { ...given, roundingSamples: copies * given.roundingSamples };
      return bytesOfWalk(float, walked, copies * samples) + (made ? madeBytes(float, made) : 0);
    },
    run: async (job, context) => {
      const { options: given } = job;
      const ranges = { calibrated: [], lp: ["lp"], "output-error": ["lp", "output-error"] } as const;
      const phases = what.phases(given, job.model.quantize);
      const walk = {
        ...given,
        name,
        phases,
        ranges: ranges[given.ranges],
        made: madeOf(given),
        changed: changedOf(given),
      };
      return walkUnits(walk, job, context);
    },
  };
}

function checkImages({ name, inputs }: Dataset, augment: readonly Augmentation[]): void {
  if ([...inputs.values()].some(({ layout }) => layout !== undefined)) return;
  throw new FrostbitError(
    "BAD_OPTION",
    `augment is ${augment.join(",")}, and no input of "${name}" is known to hold images. Name those that do with --preprocess-inputs, or leave augment out.`,
  );
}

/** Samples that are not the data's. */
const madeOf = ({
  calibration,
  roundingSamples,
  batch,
  distillIterations,
}: ReconstructionOptions): MadeSamples | undefined =>
  calibration === "data"
    ? undefined
    : {
        source: calibration,
        count: roundingSamples,
        batchSize: Math.min(batch, Math.floor(roundingSamples / 2)),
        iterations: distillIterations,
      };

/** How the data's images are changed. */
const changedOf = ({ calibration, augment, augmentedCopies }: ReconstructionOptions): UnitWalk["changed"] =>
  calibration === "data" && augment.length > 0 ? { operations: augment, copies: augmentedCopies } : undefined;

/** What a walk keeps in memory of so many samples. */
export function bytesOfWalk(
  float: Graph,
  { unit, roundingSamples, cacheMemory, cacheFloats }: Pick<UnitWalk, "unit" | "roundingSamples" | keyof WalkOptions>,
  samples: number,
): number {
  if (linearLayers(float).length === 0) return 0;
  const bytes = streamBytes(float, unit, Math.min(samples, roundingSamples)) / (cacheFloats === "float16" ? 2 : 1);
  return Math.min(cacheMemory * 2 ** 20, bytes);
}

/** A walk over a network's units, as a method's options give it. */
export interface UnitWalk extends WalkOptions {
  readonly name: string;
  readonly phases: readonly Phase[];
  readonly unit: UnitKind;
  readonly roundingSamples: number;
  /** How weights get other ranges before they are rounded, one after the other. */
  readonly ranges: readonly ("lp" | "output-error")[];
  readonly activationRanges: "calibrated" | "lp";
  /** Samples in place of the data's. */
  readonly made?: MadeSamples | undefined;
  /** How images that units train with are changed; absent: not at all. */
  readonly changed?: Omit<ChangedImages, "unchanged"> | undefined;
}

type Job = Pick<MethodJob<unknown>, "model" | "data" | "scales" | "checkpoints">;

export async function walkUnits(walk: UnitWalk, job: Job, context: Context): Promise<MethodResult> {
  const { model, data, checkpoints, scales } = job;
  if (roundedLayers(model.graph, model.float).length === 0) {
    context.onNote?.(`${walk.name} changed nothing: all weights are quantized already, and keep their integers.`);
    return { model };
  }
  const { made, changed } = walk;
  const samples = made?.count ?? calibrationCount(data, { calibrationSamples: walk.roundingSamples });
  const batch = made?.batchSize ?? Math.max(1, Math.min(walk.batch, Math.floor(samples / 2)));
  const heldOut = heldOutOf(Math.floor(samples / batch) * batch, batch);
  const counted = { calibrationSamples: walk.roundingSamples, batchSize: batch };
  const batches = made
    ? await madeBatches(model.float, made, context)
    : calibrationBatches(model.float, data, counted, context);
  const images = changed && { ...counted, changed: { ...changed, unchanged: heldOut } };
  const { graph, units } = await reconstruct(
    {
      quantized: await withRanges(walk, job, batches, context),
      float: model.float,
      batches: images ? calibrationBatches(model.float, data, images, context) : batches,
      heldOut,
      phases: scales === "any" ? walk.phases : walk.phases.flatMap(withFixedSteps),
      unit: walk.unit,
      batch,
      cacheBytes: walk.cacheMemory * 2 ** 20,
      cacheFloats: walk.cacheFloats,
      checkpoints,
    },
    context,
  );
  return { model: { ...model, graph }, findings: { units } };
}

/** Training that follows may want scales that are powers of two: then they stay those of calibration, or go on from them. */
const withFixedSteps = ({ stepRate: _, ...phase }: Phase): readonly Phase[] => (phase.rounding ? [phase] : []);

async function withRanges(
  { ranges, activationRanges, roundingSamples, made }: UnitWalk,
  { model, data, scales }: Job,
  batches: CalibrationBatches,
  context: Context,
): Promise<Graph> {
  const { float, quantize } = model;
  let { graph } = model;
  if (activationRanges === "lp" && scales === "any") {
    const samples = made?.count ?? calibrationCount(data, quantize);
    const seen = made ? batches : calibrationBatches(float, data, quantize, context);
    graph = await rangeActivations({ quantized: graph, float, batches: seen, samples }, context);
  }
  if (ranges.includes("lp") && scales === "any") graph = rangeWeights(graph, float);
  if (!ranges.includes("output-error")) return graph;
  const search = scales === "powers-of-two" ? powersOfTwo : anyScale;
  return rangeWeightsByOutput({ quantized: graph, float, batches, samples: roundingSamples, search }, context);
}

/** How weights learn, by a method's options. */
export const roundingOf = (options: ReconstructionOptions): RoundingTraining => ({
  ...options,
  optimizer: options.roundingOptimizer,
  schedule: options.roundingSchedule,
  learningRate: roundingRateOf(options),
  scaleRate: scaleRateOf(options),
  subset: { by: options.subset, share: options.subsetShare },
  ...(options.variable === "direct" && { rateUnit: { weights: "scale", scales: "one" } as const }),
});

export const lossOf = (options: ReconstructionOptions): UnitLossSettings => ({
  ...options,
  kind: options.reconstructionLoss,
  power: options.lossPower,
  damping: options.fisherDamping,
});

export const biasRateOf = ({ biasLr }: ReconstructionOptions): Pick<Phase, "biasRate"> =>
  biasLr === 0 ? {} : { biasRate: biasLr };

/** All at once: weights, steps of activations and what else the options say, activations quantized at random. */
export const jointPhase = (options: ReconstructionOptions & DropOptions): Phase => ({
  rounding: roundingOf(options),
  stepRate: stepRateOf(options),
  ...biasRateOf(options),
  inputs: options.mixedInput === 1 ? "quantized" : { mixed: options.mixedInput },
  activations: "quantized",
  drop: options.drop,
  loss: lossOf(options),
  iterations: iterationsOf(options),
});

/** What a kind of variable, of loss or of subset leaves without effect. */
const unusedByLearning: readonly UnusedRule<ReconstructionOptions>[] = [
  {
    options: Object.keys(softRoundingOptions.shape).filter((name) => name !== "roundingLr"),
    by: "variable",
    isUnused: ({ variable }) => variable !== "sigmoid",
  },
  {
    options: ["lossPower"],
    by: "reconstructionLoss",
    isUnused: ({ reconstructionLoss }) => reconstructionLoss !== "lp",
  },
  {
    options: ["temperature", "predictionWeight"],
    by: "reconstructionLoss",
    isUnused: ({ reconstructionLoss }) => reconstructionLoss !== "prediction",
  },
  {
    options: ["fisherDamping"],
    by: "reconstructionLoss",
    isUnused: ({ reconstructionLoss }) => !isFisher(reconstructionLoss),
  },
  {
    options: ["augment", "augmentedCopies"],
    by: "calibration",
    isUnused: ({ calibration }) => calibration !== "data",
  },
  { options: ["augmentedCopies"], by: "augment", isUnused: ({ augment }) => augment.length === 0 },
  { options: ["distillIterations"], by: "calibration", isUnused: ({ calibration }) => calibration !== "distilled" },
  { options: ["subset"], by: "subsetShare", isUnused: ({ subsetShare }) => subsetShare === 1 },
];

const learningConflicts = ({ roundingOptimizer, roundingLr }: ReconstructionOptions): readonly Conflict[] =>
  needsRate(roundingOptimizer) && roundingLr === undefined
    ? [
        {
          option: "roundingLr",
          message: `is not given, and the steps of ${roundingOptimizer} go with the size of the gradient; say how large they are to be`,
        },
      ]
    : [];
