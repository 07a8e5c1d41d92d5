// GPTQ's own options; those of second moments are in methods/second-moments/options.ts.
import { z } from "zod";

export const gptqOptions = z.object({
  actOrder: z
    .boolean()
    .default(true)
    .describe("Whether weights are rounded in the order of their inputs' mean squares, the largest first."),
  damping: z
    .number()
    .positive()
    .default(0.01)
    .describe("What is added to the diagonal of the second moments, as a share of its mean."),
});

export type GptqOptions = z.infer<typeof gptqOptions>;
