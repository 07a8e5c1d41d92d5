// The engine for a run, by what it will have to compute.
import type { Engine } from "../engines/engine.ts";
import { type EngineName, selectEngine } from "../engines/select.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { RunOptions } from "../options/run-options.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { buildStep } from "../training/step.ts";

type Asked = Pick<RunOptions, "method" | "loss" | "outputs">;

/** For "auto": the native engine where it is built and runs the model and a training step of it, else onnxruntime. */
export const chooseEngine = (name: EngineName, graph: Graph, options: Asked): Engine =>
  name === "auto" ? selectEngine("auto", [graph, ...trainingGraphs(graph, options)]) : selectEngine(name);

/** A step of the model as it is: quantizers add nothing that an engine may lack. Where none can be built, training will say why. */
function trainingGraphs(graph: Graph, { method, loss, outputs }: Asked): readonly Graph[] {
  if (method === "ptq") return [];
  const plan = new Map(linearLayers(graph).map(({ weight }) => [weight, "all"] as const));
  const optimizer = { kind: "sgd", momentum: 0, weightDecay: 0 } as const;
  try {
    const model = selectOutputs(graph, outputs);
    return [buildStep(model, { batchSize: 2, loss, optimizer, plan, teacher: model }).graph];
  } catch (error) {
    if (error instanceof FrostbitError) return [];
    throw error;
  }
}
