// Bias correction as a step of a run.
import { z } from "zod";
import { calibrationBatches } from "../../calibration/calibration-data.ts";
import type { Method } from "../method.ts";
import { correctBiases } from "./correct-biases.ts";

export const biasCorrectionMethod: Method = {
  name: "bias-correction",
  summary: "restores the mean of each layer's output after quantizing",
  options: z.object({}),
  phase: "after-calibration",
  grids: ["power", "codebook"],
  calledBy: [],
  training: "none",
  resumes: () => false,
  heldBytes: () => 0,
  unused: [],
  conflicts: () => [],
  check: () => {},
  run: async ({ model, data }, context) => {
    const { graph, float, quantize } = model;
    if (graph === float) {
      context.onNote?.(nothingToCorrect);
      return { model };
    }
    const batches = calibrationBatches(float, data, quantize, context);
    return { model: { ...model, graph: await correctBiases(graph, float, batches, context) } };
  },
};

const nothingToCorrect =
  "Bias correction changed nothing: all layers are quantized already, and what they gave before is not known. Correct the biases of the float model where it is quantized.";
