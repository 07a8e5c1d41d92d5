// Tiny models with calibrated quantizers.
import { calibrate } from "../../src/calibration/calibrate.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { insertQuantizers } from "../../src/quantizers/insert.ts";
import { type QuantizeOptions, quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { findSites } from "../../src/quantizers/sites.ts";
import { batchFor, type FloatType, type TinyModel } from "./tiny-models.ts";

export async function quantized(
  model: TinyModel,
  dtype: FloatType,
  options: Partial<QuantizeOptions> = {},
): Promise<Graph> {
  const graph = model.build(dtype);
  const sites = findSites(graph, quantizeOptions.parse({ placement: "inputs", ...options }));
  const qparams = await calibrate(
    graph,
    sites,
    async function* () {
      yield new Map([["input", batchFor(model, dtype, 32, 3).images]]);
    },
    { observer: "min-max", calibrationSamples: 32 },
    { engine: createReferenceEngine(), seed: 0 },
  );
  return insertQuantizers(graph, sites, qparams);
}
