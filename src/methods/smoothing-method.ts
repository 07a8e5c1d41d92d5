// What methods have in common that move channels between normalizations and the weights that read them, before calibration.
import { type CalibrationBatches, calibrationBatches } from "../calibration/calibration-data.ts";
import { type SmoothPlace, smoothLayers, smoothPlaces } from "../quantizers/smooth-layers.ts";
import type { Context } from "../run/context.ts";
import type { Method, MethodModel } from "./method.ts";

interface Smoothing<Options> extends Pick<Method<Options>, "name" | "summary" | "options"> {
  /** Said where there is none: "SmoothQuant found nothing to smooth". */
  readonly nothing: string;
  /** By place, each channel's factor. */
  readonly factorsOf: (
    job: {
      readonly model: MethodModel;
      readonly places: readonly SmoothPlace[];
      readonly batches: CalibrationBatches;
      readonly options: Options;
    },
    context: Context,
  ) => Promise<Parameters<typeof smoothLayers>[1]>;
}

export const smoothingMethod = <Options>({
  nothing,
  factorsOf,
  ...described
}: Smoothing<Options>): Method<Options> => ({
  ...described,
  phase: "before-calibration",
  grids: ["power", "codebook"],
  calledBy: [],
  training: "none",
  resumes: () => false,
  unused: [],
  conflicts: () => [],
  check: () => {},
  heldBytes: () => 0,
  run: async ({ model, data, options }, context) => {
    const { graph, quantize } = model;
    const places = smoothPlaces(graph);
    if (places.length === 0) {
      context.onNote?.(
        `${nothing}: no matrix product reads a LayerNormalization or RMSNormalization whose parameters are its own.`,
      );
      return { model };
    }
    const batches = calibrationBatches(graph, data, quantize, context);
    const factors = await factorsOf({ model, places, batches, options }, context);
    return { model: { ...model, graph: smoothLayers(graph, factors) } };
  },
});
