// AWQ as a step of a run.
import { z } from "zod";
import { calibrationBatches } from "../../calibration/calibration-data.ts";
import { smoothLayers, smoothPlaces } from "../../quantizers/smooth-layers.ts";
import type { Method } from "../method.ts";
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

export const awqMethod: Method<z.output<typeof options>> = {
  name: "awq",
  summary: "makes the channels that count most in transformers larger before weights are rounded",
  options,
  phase: "before-calibration",
  grids: ["power", "codebook"],
  calledBy: [],
  training: "none",
  resumes: () => false,
  unused: [],
  conflicts: () => [],
  check: () => {},
  heldBytes: () => 0,
  run: async ({ model, data, options: { awqPowers } }, context) => {
    const { graph, quantize } = model;
    const places = smoothPlaces(graph);
    if (places.length === 0) {
      context.onNote?.(
        "AWQ found nothing to scale: no matrix product reads a LayerNormalization or RMSNormalization whose parameters are its own.",
      );
      return { model };
    }
    const batches = calibrationBatches(graph, data, quantize, context);
    const factors = await searchFactors({ graph, quantize, places, batches, powers: awqPowers }, context);
    return { model: { ...model, graph: smoothLayers(graph, factors) } };
  },
};
