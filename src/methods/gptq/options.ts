// GPTQ's own options; those of second moments are in rounding/options.ts.
import { z } from "zod";

export const gptqOptions = z.object({
  actOrder: z
    .boolean()
    .default(true)
    .describe("Whether weights are rounded in the order of their inputs' mean squares, the largest first."),
  target: z
    .enum(["weight", "output"])
    .default("output")
    .describe(
      "What is approached: the weight itself, as GPTQ does, or the weight that gives the float model's output best for the inputs that the layer now has (output).",
    ),
  damping: z
    .number()
    .positive()
    .default(0.01)
    .describe("What is added to the diagonal of the second moments, as a share of its mean."),
});

export type GptqOptions = z.infer<typeof gptqOptions>;
