// What a graph is rewritten to before its quantizers are chosen: the same function, in the form that integer kernels take.
import type { Graph } from "../ir/graph.ts";
import { foldPads } from "../passes/fold-pads.ts";
import { joinBiases } from "../passes/join-biases.ts";
import { matrixWeights } from "../passes/matrix-weights.ts";
import { separateBiases } from "../passes/separate-biases.ts";
import { shareTables } from "../passes/share-tables.ts";
import { hasLookups } from "./lookups.ts";
import type { QuantizeOptions } from "./quantize-options.ts";
import { recognizeQuantizers } from "./recognize.ts";
import { quantizeTables } from "./tables.ts";

export function prepareGraph(graph: Graph, options: QuantizeOptions): Graph {
  const prepared = separateBiases(joinBiases(matrixWeights(foldPads(graph))));
  return quantizeTables(recognizeQuantizers(hasLookups(options) ? shareTables(prepared) : prepared), options);
}
