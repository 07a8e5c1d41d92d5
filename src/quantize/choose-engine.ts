// The engine for a run, by what it will have to compute.
import type { Engine } from "../engines/engine.ts";
import { type EngineName, selectEngine } from "../engines/select.ts";
import type { Graph } from "../ir/graph.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { buildStep } from "../training/step.ts";
import type { RunOptions } from "./options.ts";

/** For "auto": the native engine where it is built and runs the model and a training step of it, else onnxruntime. */
export const chooseEngine = (name: EngineName, graph: Graph, options: Pick<RunOptions, "method" | "loss">): Engine =>
  name === "auto" ? selectEngine("auto", [graph, ...trainingGraphs(graph, options)]) : selectEngine(name);

/** A step of the model as it is: quantizers add nothing that an engine may lack. */
function trainingGraphs(graph: Graph, { method, loss }: Pick<RunOptions, "method" | "loss">): readonly Graph[] {
  if (method === "ptq") return [];
  const plan = new Map(linearLayers(graph).map(({ weight }) => [weight, "all"] as const));
  const optimizer = { kind: "sgd", momentum: 0, weightDecay: 0 } as const;
  return [buildStep(graph, { batchSize: 2, loss, optimizer, plan, teacher: graph }).graph];
}
