// AdaRound's own options; those of second moments are in rounding/options.ts.
import { z } from "zod";

export const adaroundOptions = z.object({
  iterations: z.int().positive().default(1000).describe("Adam steps for each layer."),
  roundingLr: z
    .number()
    .positive()
    .optional()
    .describe("Learning rate of the rounding variable; by default 10 / iterations, at least 1e-3."),
  lambda: z.number().min(0).default(0.01).describe("Weight of the term that drives each weight up or down."),
  beta: z
    .tuple([z.number().min(2), z.number().min(2)])
    .default([20, 2])
    .describe("The exponent of that term, at its start and at the end: the smaller, the harder it decides."),
  roundingWarmup: z.number().min(0).max(0.9).default(0.2).describe("Share of the iterations before that term counts."),
});

export type AdaroundOptions = z.infer<typeof adaroundOptions>;
