// A float graph with the input x, calibrated on random samples and written as a quantized file.
import { calibrate } from "../../src/calibration/calibrate.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { exportQdq } from "../../src/export/qdq.ts";
import type { Graph, Origin } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { foldQuantizers } from "../../src/quantizers/fold.ts";
import { insertQuantizers } from "../../src/quantizers/insert.ts";
import { prepareGraph } from "../../src/quantizers/prepare-graph.ts";
import { type QuantizeOptions, quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { findSites } from "../../src/quantizers/sites.ts";
import { createRandom } from "./random.ts";

export const origin: Origin = {
  opset: 20,
  irVersion: 9,
  producerName: "",
  producerVersion: "",
  domain: "",
  modelVersion: 0n,
  docString: "",
  metadata: new Map(),
};

export interface ExportedQuantized {
  readonly bytes: Uint8Array;
  /** With its quantizers, normalization unfolded. */
  readonly graph: Graph;
  /** What it was calibrated with; sizes that are not fixed are 4. */
  readonly inputs: ReadonlyMap<string, Tensor>;
}

export async function exportQuantized(float: Graph, options: Partial<QuantizeOptions>): Promise<ExportedQuantized> {
  const quantize = quantizeOptions.parse({ placement: "inputs", ...options });
  const prepared = prepareGraph(float, quantize);
  const sites = findSites(prepared, quantize);
  const shape = (prepared.values.get("x")?.shape ?? []).map((size) => (typeof size === "number" ? size : 4));
  const inputs = new Map([["x", createRandom(5).tensor("float32", shape)]]);
  const qparams = await calibrate(
    prepared,
    sites,
    async function* () {
      yield inputs;
    },
    { observer: "min-max", calibrationSamples: 4 },
    { engine: createReferenceEngine(), seed: 0 },
  );
  const graph = insertQuantizers(prepared, sites, qparams);
  const folded = foldQuantizers(graph, quantize.placement === "runtime" ? "int32" : "float");
  const { model, opset } = exportQdq(folded, origin, "packed");
  return { bytes: writeOnnx(model, { opset }), graph, inputs };
}
