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

export type MomentsOptions = z.infer<typeof momentsOptions>;
export type StreamName = MomentsOptions["stream"];
