// SmoothQuant as a step of a run.
import { z } from "zod";
import { calibrationBatches } from "../../calibration/calibration-data.ts";
import { channelsOf, observeInputChannels } from "../../calibration/input-channels.ts";
import type { Method } from "../method.ts";
import { smoothLayers, smoothPlaces } from "./smooth-layers.ts";

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

export const smoothQuantMethod: Method<z.output<typeof options>> = {
  name: "smooth-quant",
  summary: "moves outlier channels of transformers from activations into weights",
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
  run: async ({ model, data, options: { smoothing } }, context) => {
    const { graph, quantize } = model;
    const places = smoothPlaces(graph);
    if (places.length === 0) {
      context.onNote?.(
        "SmoothQuant found nothing to smooth: no matrix product reads a LayerNormalization or RMSNormalization whose parameters are its own.",
      );
      return { model };
    }
    const layers = places.map((place) => place.layers[0]);
    const observed = await observeInputChannels(
      graph,
      layers,
      calibrationBatches(graph, data, quantize, context),
      context,
    );
    const smooth = smoothLayers(graph, places, (place) => channelsOf(observed, place.layers[0]).largest, smoothing);
    return { model: { ...model, graph: smooth } };
  },
};
