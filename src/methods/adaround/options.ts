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
  betaStart: z
    .number()
    .min(2)
    .default(20)
    .describe("The exponent of that term when it starts to count: the smaller, the harder it decides."),
  betaEnd: z.number().min(2).default(2).describe("The exponent of that term in the last iteration."),
  roundingWarmup: z.number().min(0).max(0.9).default(0.2).describe("Share of the iterations before that term counts."),
});

export type AdaroundOptions = z.infer<typeof adaroundOptions>;
