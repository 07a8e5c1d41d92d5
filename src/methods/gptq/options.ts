// GPTQ's own options; those of second moments are in rounding/options.ts.
import { z } from "zod";

export const gptqOptions = z.object({
  roundingOrder: z
    .enum(["activations", "natural"])
    .default("activations")
    .describe(
      "In which order a layer's inputs are taken: by their mean squares, the largest first (activations), or as they lie.",
    ),
  reconstruct: z
    .enum(["weights", "outputs"])
    .default("outputs")
    .describe(
      "What is approached: the weight itself, as GPTQ does, or the weight that gives the float model's output best for the inputs that the layer now has (outputs).",
    ),
  damping: z
    .number()
    .positive()
    .default(0.01)
    .describe("What is added to the diagonal of the second moments, as a share of its mean."),
});

export type GptqOptions = z.infer<typeof gptqOptions>;
