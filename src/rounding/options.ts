// What every method that rounds by second moments can be told.
import { z } from "zod";

/** What a layer's inputs have gone through. */
const streamNames = ["quantized", "weights", "float"] as const;

export const momentsOptions = z.object({
  roundingSamples: z.int().min(8).default(1024).describe("Training samples that the second moments are taken from."),
  positions: z
    .int()
    .positive()
    .default(32)
    .describe("Of each sample, at how many positions of a layer's output its inputs count: all where there are fewer."),
  stream: z
    .enum(streamNames)
    .default("quantized")
    .describe(
      "What a layer's inputs have gone through before it: layers with rounded weights and quantized activations (quantized), with rounded weights alone (weights), or the float model (float). What the layer should give is always the float model's output.",
    ),
});

/** Of methods that round. */
export const rangeOptions = z.object({
  ranges: z
    .enum(["calibrated", "output-error"])
    .default("output-error")
    .describe(
      "Whether weights keep the ranges that calibration gave them, or get, before they are rounded, those by which rounding to nearest gives the least error of the layer's output.",
    ),
});

/** Of methods that learn how to round. */
export const softRoundingOptions = z.object({
  roundingLr: z
    .number()
    .positive()
    .optional()
    .describe("Learning rate of the rounding variable; by default 10 / iterations, at least 1e-3."),
  lambda: z.number().min(0).default(0.01).describe("Weight of the term that drives each weight up or down."),
  betaStart: z
    .number()
    .min(2)
    .default(20)
    .describe("The exponent of that term when it starts to count: the smaller, the harder it decides."),
  betaEnd: z.number().min(2).default(2).describe("The exponent of that term in the last iteration."),
  roundingWarmup: z.number().min(0).max(0.9).default(0.2).describe("Share of the iterations before that term counts."),
});

export type SoftRoundingOptions = z.infer<typeof softRoundingOptions>;
export type MomentsOptions = z.infer<typeof momentsOptions>;
export type StreamName = MomentsOptions["stream"];
