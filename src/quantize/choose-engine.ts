// The engine for a run, by what it will have to compute.
import type { Engine } from "../engines/engine.ts";
import { type EngineName, selectEngine } from "../engines/select.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { RunOptions } from "../options/run-options.ts";
import { stepGraphs } from "./step-graphs.ts";

/** For "auto": the native engine where it is built for x64 and runs the model and a training step of it, else onnxruntime. */
export const chooseEngine = (name: EngineName, graph: Graph, options: RunOptions): Engine =>
  name === "auto" ? selectEngine("auto", [graph, ...trainingGraphs(graph, options)]) : selectEngine(name);

/** Steps of the model as it is: quantizers add nothing that an engine may lack. Where none can be built, training will say why. */
function trainingGraphs(graph: Graph, options: RunOptions): readonly Graph[] {
  try {
    return stepGraphs(graph, graph, options);
  } catch (error) {
    if (error instanceof FrostbitError) return [];
    throw error;
  }
}
