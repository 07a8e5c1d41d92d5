// AWQ as a step of a run.
import { z } from "zod";
import { smoothingMethod } from "../smoothing-method.ts";
import { searchFactors } from "./search-factors.ts";

const options = z.object({
  awqPowers: z
    .int()
    .min(2)
    .default(20)
    .describe(
      "How many exponents of the channels' mean magnitudes are tried for each normalization: 0, 1/n, … (n − 1)/n.",
    ),
});

export const awqMethod = smoothingMethod<z.output<typeof options>>({
  name: "awq",
  summary: "makes the channels that count most in transformers larger before weights are rounded",
  options,
  nothing: "AWQ found nothing to scale",
  factorsOf: ({ model: { graph, quantize }, places, batches, options: { awqPowers } }, context) =>
    searchFactors({ graph, quantize, places, batches, powers: awqPowers }, context),
});
