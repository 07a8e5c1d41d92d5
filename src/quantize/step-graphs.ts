// A training step of each method of a run.
import type { Graph } from "../ir/graph.ts";
import { methodOf } from "../methods/index.ts";
import type { RunOptions } from "../options/run-options.ts";

/** Of `graph`, with its quantizers or without; `original` is the float model. Methods that train nothing have none. */
export const stepGraphs = (graph: Graph, original: Graph, run: RunOptions): readonly Graph[] =>
  run.methods.flatMap((step) => {
    const { training } = methodOf(step);
    const model = { graph, original, float: graph, quantize: run.quantize, outputs: run.quantize.outputs };
    return training === "none" ? [] : [training.stepGraph(model, step.options, run.seed)];
  });
