// Which form the weights of layers will have, before any of them is made.
import type { LayerForm } from "../export/checkpoints/decoder-weights.ts";
import type { Graph } from "../ir/graph.ts";
import { isGrouped } from "../ops/granularity.ts";
import type { QuantizeOptions } from "../quantizers/quantize-options.ts";
import { findSites } from "../quantizers/sites.ts";

/** Of matrices, which lie [inputs, outputs]. */
export const layerForms = (graph: Graph, options: QuantizeOptions): readonly LayerForm[] =>
  findSites(graph, options).weights.map(({ value, bits, symmetric, granularity, grid }) => {
    const [inputs, outputs] = (graph.values.get(value)?.shape ?? []).map(Number);
    return {
      name: value.replace(/\.weight$/, ""),
      inputs,
      outputs,
      bits,
      groupSize: isGrouped(granularity) ? granularity.groupSize : "whole",
      isSymmetric: symmetric,
      isUniform: grid === undefined,
    };
  });
