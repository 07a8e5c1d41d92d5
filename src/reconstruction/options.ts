// What methods that reconstruct units can be told.
import { z } from "zod";
import { sampleSources } from "../calibration/made-samples.ts";
import { augmentations } from "../data/augment.ts";
import { softRoundingOptions } from "../rounding/options.ts";
import { learningRateOf } from "../rounding/rounding-schedule.ts";
import { unitKinds } from "../units/units.ts";
import { type LossName, lossNames } from "./loss.ts";
import { type OptimizerName, optimizerNames } from "./optimizers.ts";
import { type RateSchedule, rateSchedules } from "./phase.ts";
import { subsetNames } from "./subset.ts";
import { type VariableName, variableNames } from "./weight-variables.ts";

const reconstructionPresets = ["fast", "default", "thorough"] as const;

/** Iterations of a unit. */
const presetIterations = { fast: 1000, default: 2500, thorough: 20_000 } as const;

/** How samples go through a walk over units. */
export const walkOptions = z.object({
  batch: z.int().positive().default(32).describe("Samples of a step: at most half of the samples."),
  cacheMemory: z
    .int()
    .min(0)
    .default(2048)
    .describe("Megabytes that activations between units may take in memory; what is beyond goes to the output folder."),
  cacheFloats: z.enum(["float32", "float16"]).default("float32").describe("How activations between units are kept."),
});

export type WalkOptions = z.infer<typeof walkOptions>;

/** What methods that reconstruct units differ in, apart from their phases. */
export interface LearningDefaults {
  readonly variable: VariableName;
  readonly optimizer: OptimizerName;
  readonly schedule: RateSchedule;
  readonly keep: "last" | "best";
  readonly loss: LossName;
}

/** AdaRound's, which BRECQ and QDrop took over. */
export const adaroundLearning: LearningDefaults = {
  variable: "sigmoid",
  optimizer: "adam",
  schedule: "constant",
  keep: "last",
  loss: "mse",
};

/** How the weights of a unit learn. */
const learningOptions = ({ variable, optimizer, schedule, keep, loss }: LearningDefaults) =>
  z.object({
    variable: z
      .enum(variableNames)
      .default(variable)
      .describe(
        "What each weight learns: whether it is rounded up or down (sigmoid), an offset before it is rounded to nearest, with the ends of its range (offset), what it is divided by, with its scale (divisor), or its own value (direct).",
      ),
    roundingOptimizer: z
      .enum(optimizerNames)
      .default(optimizer)
      .describe("How that steps, as PyTorch computes it: sgd with momentum 0.9, adamw with weight decay 0.01."),
    roundingSchedule: z
      .enum(rateSchedules)
      .default(schedule)
      .describe("How its learning rate goes: constant, or down to 0 along a line or half a cosine."),
    scaleLr: z
      .number()
      .min(0)
      .optional()
      .describe(
        "Learning rate of the weights' scales at the start, which falls to 0: of the scale itself by Adam (sigmoid, direct), of factors of the range's ends (offset), of its logarithm (divisor); where weightGrid is power, of the exponent instead. By default that of roundingLr for offset, divisor and exponents. 0: they stay.",
      ),
    biasLr: z
      .number()
      .min(0)
      .default(0)
      .describe(
        "Learning rate of biases, those of normalizations among them, at the start, which falls to 0. 0: they stay.",
      ),
    subset: z
      .enum(subsetNames)
      .default("magnitude")
      .describe(
        "Which weights of a layer learn where not all do: the largest, those nearest to the middle between two integers (threshold), or any (random). The others are rounded to nearest.",
      ),
    subsetShare: z.number().gt(0).max(1).default(1).describe("The share of each layer's weights that learn."),
    keep: z
      .enum(["last", "best"])
      .default(keep)
      .describe(
        "Which values of what weights learn count in the end: the last, or those of the step with the least loss.",
      ),
    reconstructionLoss: z
      .enum(lossNames)
      .default(loss)
      .describe(
        "What the output of a unit is compared with the float unit's by: the squared difference, summed over channels (mse), a power of it (lp), the angle between them (cosine), the squared difference and what it does to the class scores (prediction), which takes a pass through the rest of the model in each iteration, or the difference weighed by the gradient of that before the unit trains, element by element (fisher-diagonal) or together (fisher-full).",
      ),
    lossPower: z.number().min(1).default(2.4).describe("The power of lp."),
    fisherDamping: z
      .number()
      .min(0)
      .default(1)
      .describe(
        "Of fisher-diagonal and fisher-full: what is added to the gradients. BRECQ's 1 leaves little of them; 0 takes the gradients alone, over their mean.",
      ),
    temperature: z.number().positive().default(4).describe("Of prediction: what class scores are divided by."),
    predictionWeight: z
      .number()
      .positive()
      .default(10)
      .describe("Of prediction: what the divergence of class scores is multiplied by beside the squared difference."),
  });

export const reconstructionOptionsWith = (defaults: LearningDefaults) =>
  z.object({
    preset: z
      .enum(reconstructionPresets)
      .default("default")
      .describe(
        "How long each unit trains: 1,000 iterations (fast), 2,500 (default) or 20,000 (thorough, as in the papers); learning rates follow from that.",
      ),
    iterations: z.int().positive().optional().describe("Steps for each unit, instead of the preset's."),
    unit: z
      .enum(unitKinds)
      .default("block")
      .describe(
        "What trains together: a layer, a block (what lies between two values through which everything flows), or the network.",
      ),
    roundingSamples: z
      .int()
      .min(8)
      .default(1024)
      .describe("Training samples that units train with, without labels; one in sixteen is held out."),
    calibration: z
      .enum(sampleSources)
      .default("data")
      .describe(
        "What units train with, and lp ranges of activations are taken from: samples of the data (data); standard normal noise (noise); or noise that was moved until what enters each batch normalization has the mean and the deviation that it remembers (distilled). ptq calibrates on the data before that.",
      ),
    distillIterations: z
      .int()
      .positive()
      .default(200)
      .describe("Of calibration distilled: Adam steps of each batch, at a learning rate from 0.1 to 0."),
    augment: z
      .array(z.enum(augmentations))
      .default([])
      .describe(
        "Random changes of the images that units train with: crop, flip. They are drawn once, by the seed; ranges, and samples held out, are of the images as they are.",
      ),
    augmentedCopies: z
      .int()
      .positive()
      .default(1)
      .describe("How many times units train with each sample, each time changed otherwise by augment."),
    ...learningOptions(defaults).shape,
    ...softRoundingOptions.shape,
    roundingLr: z
      .number()
      .positive()
      .optional()
      .describe(
        "Learning rate of what weights learn; by default, with adam, adamw and sign-sgd, 10 / iterations and at least 1e-3 (sigmoid), 1 / iterations (offset), 2 / iterations (direct), or 3e-3 (divisor).",
      ),
    stepLr: z
      .number()
      .min(0)
      .optional()
      .describe(
        "Learning rate of the activations' steps at the start, which falls to 0; by default 0.4 / iterations, at least 4e-5. 0: they stay.",
      ),
    ranges: z
      .enum(["calibrated", "lp", "output-error"])
      .default("lp")
      .describe(
        "Whether weights keep the ranges that calibration gave them, or get, before they are rounded, those of least |error|^2.4 (lp), and from there those of least error of their layer's output (output-error).",
      ),
    activationRanges: z
      .enum(["calibrated", "lp"])
      .default("lp")
      .describe("Whether activations keep their ranges, or get those of least |error|^2.4 of the float model's."),
    ...walkOptions.shape,
  });

export type ReconstructionOptions = z.infer<ReturnType<typeof reconstructionOptionsWith>>;

interface DropDefaults {
  readonly drop: number;
  readonly mixedInput: number;
}

/** Of methods whose activations are quantized while weights learn. */
export const dropOptionsWith = ({ drop, mixedInput }: DropDefaults) =>
  z.object({
    drop: z
      .number()
      .min(0)
      .max(0.99)
      .default(drop)
      .describe(
        "Probability with which each element of an activation stays as it was, not quantized, in an iteration.",
      ),
    mixedInput: z
      .number()
      .min(0.01)
      .max(1)
      .default(mixedInput)
      .describe(
        "Probability with which each element of a unit's input is what the quantized units before it give, and not what the float ones do.",
      ),
  });

export type DropOptions = z.infer<ReturnType<typeof dropOptionsWith>>;

export const iterationsOf = ({ preset, iterations }: Pick<ReconstructionOptions, "preset" | "iterations">): number =>
  iterations ?? presetIterations[preset];

export const stepRateOf = (options: Pick<ReconstructionOptions, "preset" | "iterations" | "stepLr">): number =>
  options.stepLr ?? Math.max(4e-5, 0.4 / iterationsOf(options));

/** Of optimizers whose steps have the learning rate's size, whatever the gradient's. */
const roundingRates: Readonly<Record<VariableName, (iterations: number) => number>> = {
  sigmoid: (iterations) => learningRateOf({ iterations }),
  offset: (iterations) => 1 / iterations,
  direct: (iterations) => 2 / iterations,
  divisor: () => 3e-3,
};

export const roundingRateOf = (options: ReconstructionOptions): number =>
  options.roundingLr ?? roundingRates[options.variable](iterationsOf(options));

/** `undefined` where scales stay. */
export function scaleRateOf(options: ReconstructionOptions): number | undefined {
  const isPart = options.variable === "offset" || options.variable === "divisor";
  const rate = options.scaleLr ?? (isPart ? roundingRateOf(options) : 0);
  return rate === 0 ? undefined : rate;
}

/** Optimizers whose steps go with the size of the gradient, for which no learning rate can be told from the iterations. */
export const needsRate = (optimizer: OptimizerName): boolean =>
  optimizer === "sgd" || optimizer === "adagrad" || optimizer === "adadelta";
