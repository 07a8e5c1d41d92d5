// SmoothQuant (arXiv:2211.10438) as a step of a run: outlier channels move from activations into the weights that read them.
import { z } from "zod";
import { channelsOf, observeInputChannels } from "../../calibration/input-channels.ts";
import type { Graph } from "../../ir/graph.ts";
import { largestOfRows } from "../../quantizers/qparams.ts";
import type { SmoothPlace } from "../../quantizers/smooth-layers.ts";
import { constantOf } from "../../rounding/grid.ts";
import { smoothingMethod } from "../smoothing-method.ts";

const options = z.object({
  smoothing: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe(
      "How much of the difference between channels goes from activations into weights: none at 0, all of it at 1.",
    ),
});

export const smoothQuantMethod = smoothingMethod<z.output<typeof options>>({
  name: "smooth-quant",
  summary: "moves outlier channels of transformers from activations into weights",
  options,
  nothing: "SmoothQuant found nothing to smooth",
  factorsOf: async ({ model: { graph }, places, batches, options: { smoothing } }, context) => {
    const layers = places.map((place) => place.layers[0]);
    const observed = await observeInputChannels(graph, layers, batches, context);
    const factors = places.map(
      (place) =>
        [place, smoothFactors(graph, place, channelsOf(observed, place.layers[0]).largest, smoothing)] as const,
    );
    return new Map(factors);
  },
});

/** max|x|^α / max|w|^(1 − α) by channel; 1 for channels that are always 0, or that nothing multiplies. */
export function smoothFactors(
  graph: Graph,
  { layers }: SmoothPlace,
  largest: ArrayLike<number>,
  strength: number,
): readonly number[] {
  const weights = layers.map(({ weight, inputAxis }) => largestOfRows(constantOf(graph, weight), inputAxis));
  return Array.from(largest, (most, channel) => {
    const weight = weights.reduce((a, row) => Math.max(a, row[channel]), 0);
    return most > 0 && weight > 0 ? most ** strength / weight ** (1 - strength) : 1;
  });
}
