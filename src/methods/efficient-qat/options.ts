// What EfficientQAT can be told.
import { z } from "zod";
import { walkOptions } from "../../reconstruction/options.ts";
import { unitKinds } from "../../units/units.ts";

export const efficientQatOptions = z.object({
  trainingSamples: z.int().positive().default(256).describe("Training samples that blocks train with, without labels."),
  validationSamples: z
    .int()
    .positive()
    .optional()
    .describe(
      "Training samples besides, by which the best state of a block, and rates, are chosen: by default an eighth of the training samples, at most 32.",
    ),
  epochs: z.number().positive().default(2).describe("Passes over the training samples for each block."),
  batch: z.int().positive().default(4).describe("Samples of a step of a block."),
  accumulate: z
    .int()
    .positive()
    .default(1)
    .describe("Micro-batches that a step of a block is computed in, one after the other or by several processes."),
  weightLr: z
    .number()
    .positive()
    .optional()
    .describe(
      "Learning rate of weights and norms at the start, which falls to a 20th: by default 0.9 times the mean of the block's scales, over the cube root of its steps and the root of a row's inputs.",
    ),
  scaleLr: z
    .number()
    .min(0)
    .optional()
    .describe(
      "The same of scales and zero points: by default 0.06 times the mean of the block's scales, over the cube root of its steps and the root of a row's groups. 0: they stay.",
    ),
  rates: z
    .enum(["derived", "searched"])
    .default("derived")
    .describe(
      "Whether learning rates that are not given are those, or these times what of 3, 1 and 1/3 serves the first block best, which trains five times.",
    ),
  errors: z
    .enum(["absolute", "relative"])
    .default("absolute")
    .describe(
      "What a block trains by: the squared error of its output, or that over the power of what it should be at each position, as the normalization behind it sees it; a few positions of large activations are then no more than others.",
    ),
  leastScale: z
    .number()
    .positive()
    .default(2 ** -14)
    .describe("What scales are kept at or above."),
  scaleType: z
    .enum(["float16", "float32"])
    .default("float16")
    .describe("The type whose numbers scales are rounded to before integers are chosen for good."),
  unit: z
    .enum(unitKinds)
    .default("part")
    .describe(
      "What trains together: a layer, a block between two values through which everything flows, a part whose layers share a number in their names, as a decoder's layers do, or the network.",
    ),
  cacheMemory: walkOptions.shape.cacheMemory,
  cacheFloats: z.enum(["float32", "float16"]).default("float16").describe("How activations between blocks are kept."),
});

export type EfficientQatOptions = z.infer<typeof efficientQatOptions>;

/** Samples that blocks do not train with: whole batches. */
export function heldOutOf({ validationSamples, trainingSamples, batch }: EfficientQatOptions): number {
  const count = validationSamples ?? Math.min(32, Math.ceil(trainingSamples / 8));
  return Math.ceil(count / batch) * batch;
}
