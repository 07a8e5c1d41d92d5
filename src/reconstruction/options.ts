// What methods that reconstruct units can be told.
import { z } from "zod";
import { softRoundingOptions } from "../rounding/options.ts";
import { unitKinds } from "../units/units.ts";

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

export const reconstructionOptions = z.object({
  preset: z
    .enum(reconstructionPresets)
    .default("default")
    .describe(
      "How long each unit trains: 1,000 iterations (fast), 2,500 (default) or 20,000 (thorough, as in the papers); learning rates follow from that.",
    ),
  iterations: z.int().positive().optional().describe("Adam steps for each unit, instead of the preset's."),
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
  ...softRoundingOptions.shape,
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

export type ReconstructionOptions = z.infer<typeof reconstructionOptions>;

export const iterationsOf = ({ preset, iterations }: Pick<ReconstructionOptions, "preset" | "iterations">): number =>
  iterations ?? presetIterations[preset];

export const stepRateOf = (options: Pick<ReconstructionOptions, "preset" | "iterations" | "stepLr">): number =>
  options.stepLr ?? Math.max(4e-5, 0.4 / iterationsOf(options));
