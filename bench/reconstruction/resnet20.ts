// ResNet-20 with quantizers calibrated, and methods run on it.
import { join } from "node:path";
import { matchInputs } from "../../src/data/dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import type { Engine } from "../../src/engines/engine.ts";
import { methodOf } from "../../src/methods/index.ts";
import type { MethodModel, MethodStep } from "../../src/methods/method.ts";
import { openData } from "../../src/node/open-data.ts";
import { readModel } from "../../src/node/read-model.ts";
import { runMethods } from "../../src/quantize/run-methods.ts";
import { prepareGraph } from "../../src/quantizers/prepare-graph.ts";
import { quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import type { Progress } from "../../src/run/context.ts";
import { dataFolder } from "../support/machine.ts";

export interface MethodRequest {
  readonly method: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Bits. */
  readonly weights: number;
  readonly activations: number;
  readonly engine: "native" | "onnxruntime";
  readonly threads: number;
}

export interface Prepared {
  readonly model: MethodModel;
  readonly run: (engine: Engine, onProgress?: (progress: Progress) => void) => Promise<void>;
}

/** Called once the data is open and before the model is. */
export async function prepare(request: MethodRequest, engine: Engine, onData: () => void): Promise<Prepared> {
  const { train } = await openData(`cifar10:${join(dataFolder(), "cifar10")}`);
  onData();
  const { weights, activations, threads } = request;
  const quantize = quantizeOptions.parse({ placement: "inputs", weights, activations, firstLast: 8 });
  const graph = prepareGraph(readModel(join(dataFolder(), "resnet_cifar10", "resnet20.onnx")).graph, quantize);
  const data = { train: matchInputs(train, graph), preprocess: resolvePreprocess("imagenet") };
  const walk = (step: MethodStep) => ({
    ...{ steps: [step], all: [step], data, checkpoints: undefined },
    fileBytes: () => 0,
    timeFiles: async () => [],
    loadSolver: () => Promise.reject(new Error("there is no budget")),
  });
  const stepOf = (method: string, options: object): MethodStep => ({
    method,
    options: methodOf({ method }).options.parse(options),
  });
  const start = { graph, original: graph, float: graph, quantize, outputs: undefined };
  const { model } = await runMethods(start, walk(stepOf("ptq", {})), { engine, seed: 0, threads });
  return {
    model,
    run: async (chosen, onProgress) => {
      // As the command's default.
      const precision = chosen.precisions[chosen.precisions.length - 1];
      const context = { engine: chosen, seed: 0, threads, precision, ...(onProgress ? { onProgress } : {}) };
      await runMethods(model, walk(stepOf(request.method, request.options)), context);
    },
  };
}
