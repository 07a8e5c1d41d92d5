// What E2E-QP can be told.
import { z } from "zod";
import { trainingOptions } from "../../training/options.ts";

export const e2eQpOptions = z.object({
  loss: z
    .enum(["cross-entropy", "distill"])
    .default("cross-entropy")
    .describe(
      "cross-entropy of the labels, of text its next tokens; distill: against the float model's probabilities.",
    ),
  lr: z
    .number()
    .positive()
    .optional()
    .describe("Learning rate of the scales after the warm-up; by default a fifth of their mean, over the steps."),
  epochs: trainingOptions.shape.epochs,
  steps: trainingOptions.shape.steps,
  batch: z.int().positive().default(8).describe("Samples a step."),
  trainingSamples: z.int().positive().default(256).describe("Training samples that are used, chosen by the seed."),
  accumulate: z
    .int()
    .positive()
    .default(1)
    .describe("Micro-batches that a batch is computed in, one after the other, to save memory."),
  recompute: z
    .enum(["auto", "always", "never"])
    .default("auto")
    .describe(
      "Whether the gradients of a block compute its activations again from what entered it, instead of all blocks' being kept: auto where those would take more than 512 MB. It takes a third more time.",
    ),
  warmup: z.number().min(0).max(0.9).default(0.03).describe("Share of the steps in which the rate rises linearly."),
  clipNorm: z.number().positive().default(0.3).describe("The most that the norm of all gradients together may be."),
  scaleType: z
    .enum(["float16", "float32"])
    .default("float16")
    .describe("The type whose numbers scales are rounded to at the end."),
  checkpointEvery: trainingOptions.shape.checkpointEvery,
});

export type E2eQpOptions = z.infer<typeof e2eQpOptions>;
