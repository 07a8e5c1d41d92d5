// What a graph is rewritten to before its quantizers are chosen: the same function, in the form that integer kernels take.
import type { Graph } from "../ir/graph.ts";
import { foldPads } from "../passes/fold-pads.ts";
import { matrixWeights } from "../passes/matrix-weights.ts";
import { separateBiases } from "../passes/separate-biases.ts";
import { recognizeQuantizers } from "./recognize.ts";

export const prepareGraph = (graph: Graph): Graph =>
  recognizeQuantizers(separateBiases(matrixWeights(foldPads(graph))));
