// The graph of a training step, or of a forward pass, as quantizing with these options would run it, without data.
import type { Graph } from "../ir/graph.ts";
import { scalar, tensorOf } from "../ir/tensor.ts";
import { methods } from "../methods/index.ts";
import type { RunOptions } from "../options/run-options.ts";
import { freeBatch } from "../passes/free-batch.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { insertQuantizers } from "../quantizers/insert.ts";
import { weightsOf } from "../quantizers/linear-layers.ts";
import type { Qparams } from "../quantizers/qparams.ts";
import { recognizeQuantizers } from "../quantizers/recognize.ts";
import type { Site } from "../quantizers/sites.ts";
import { shapeOfPlan } from "../training/freezing-plan.ts";
import { stepOptionsOf } from "../training/loop.ts";
import { buildStep } from "../training/step.ts";
import { sitesOf } from "./quantize-float.ts";

/** `model` with quantizers whose scales are 1: what is computed, not what comes out. Throws as `quantizeModel` does. */
export function plannedGraph(model: Graph, options: RunOptions, part: "step" | "forward"): Graph {
  const { graph } = freeBatch(model);
  const quantized = options.method === "float" ? graph : withQuantizers(recognizeQuantizers(graph), options);
  const attended = selectOutputs(quantized, options.outputs);
  if (part === "forward" || options.method === "ptq") return setBatchSize(attended, options.batch);
  const plan = shapeOfPlan(methods[options.method](attended, options).select(weightsOf(attended), 0));
  const teacher = options.loss === "cross-entropy" ? {} : { teacher: selectOutputs(graph, options.outputs) };
  return buildStep(attended, stepOptionsOf({ options, ...teacher }, options.accumulate, plan, false)).graph;
}

function withQuantizers(graph: Graph, options: RunOptions): Graph {
  const sites = sitesOf(graph, options);
  const all = [...sites.weights, ...sites.activations];
  return insertQuantizers(graph, sites, new Map(all.map((site) => [site.name, unitQparams(graph, site)])));
}

function unitQparams(graph: Graph, { value, axis }: Site): Qparams {
  const { dtype = "float32", shape = [] } = graph.values.get(value) ?? {};
  const rows = axis === undefined ? undefined : Number(shape[axis]);
  const ones = Array.from({ length: rows ?? 1 }, () => 1);
  return { scale: tensorOf(dtype, rows === undefined ? [] : [rows], ones), zeroPoint: scalar(dtype, 0) };
}
