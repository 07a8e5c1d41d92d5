// Cross-layer equalization as a step of a run.
import { z } from "zod";
import type { Method } from "../method.ts";
import { equalizeLayers } from "./equalize-layers.ts";

export const crossLayerEqualizationMethod: Method = {
  name: "cross-layer-equalization",
  summary: "makes weights more even before they are quantized",
  options: z.object({}),
  phase: "before-calibration",
  grids: ["power", "codebook"],
  calledBy: [],
  training: "none",
  resumes: () => false,
  heldBytes: () => 0,
  unused: [],
  conflicts: () => [],
  check: () => {},
  run: async ({ model }, { onNote }) => {
    const { graph, pairs } = equalizeLayers(model.graph);
    if (pairs === 0) onNote?.(nothingToEqualize);
    return { model: { ...model, graph } };
  },
};

const nothingToEqualize =
  "Cross-layer equalization found no two layers to equalize: between them there may be only a normalization, Relu, LeakyRelu, PRelu and pooling.";
