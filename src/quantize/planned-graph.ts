// The graph of a training step, or of a forward pass, as quantizing with these options would run it, without data.
import type { Graph } from "../ir/graph.ts";
import { scalar, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { sitesOf } from "../methods/ptq/method.ts";
import { scaleShape } from "../ops/granularity.ts";
import { isQuantized, type RunOptions } from "../options/run-options.ts";
import { freeBatch } from "../passes/free-batch.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { insertQuantizers } from "../quantizers/insert.ts";
import { prepareGraph } from "../quantizers/prepare-graph.ts";
import type { Qparams } from "../quantizers/qparams.ts";
import type { Site } from "../quantizers/sites.ts";
import { stepGraphs } from "./step-graphs.ts";

/** A step of the run's first method that trains; `undefined` where none does. Throws as `quantizeModel` does. */
export function plannedStep(model: Graph, options: RunOptions): Graph | undefined {
  const { graph } = freeBatch(model);
  return stepOfPrepared(preparedGraph(graph, options), graph, options);
}

/** The same of a graph that is prepared already, from `original`, whose batch is free. */
export const stepOfPrepared = (prepared: Graph, original: Graph, options: RunOptions): Graph | undefined =>
  stepGraphs(withQuantizers(prepared, options), original, options)[0];

export const plannedForward = (model: Graph, options: RunOptions, batch: number): Graph =>
  setBatchSize(selectOutputs(quantizedGraph(model, options), options.quantize.outputs), batch);

function quantizedGraph(model: Graph, options: RunOptions): Graph {
  return withQuantizers(preparedGraph(freeBatch(model).graph, options), options);
}

const preparedGraph = (graph: Graph, options: RunOptions): Graph =>
  isQuantized(options) ? prepareGraph(graph, options.quantize) : graph;

/** With quantizers whose scales are 1: what is computed, not what comes out. */
function withQuantizers(graph: Graph, options: RunOptions): Graph {
  if (!isQuantized(options)) return graph;
  const sites = sitesOf(graph, options.quantize);
  const all = [...sites.weights, ...sites.activations];
  return insertQuantizers(graph, sites, new Map(all.map((site) => [site.name, unitQparams(graph, site)])));
}

function unitQparams(graph: Graph, { value, granularity, symmetric }: Site): Qparams {
  const { dtype = "float32", shape = [] } = graph.values.get(value) ?? {};
  const scales = scaleShape(shape.map(Number), granularity);
  const filled = (value: number): Tensor => tensorOf(dtype, scales, new Array<number>(sizeOf(scales)).fill(value));
  return { scale: filled(1), zeroPoint: symmetric ? scalar(dtype, 0) : filled(0) };
}
