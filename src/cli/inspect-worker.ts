// Reads and inspects a model beside the thread that waits for it, which can end it.
import { parentPort, workerData } from "node:worker_threads";
import { type InspectOptions, inspectModel } from "../inspect/inspect-model.ts";
import { FrostbitError } from "../ir/errors.ts";
import { readModel } from "../node/read-model.ts";
import type { WorkerAnswer } from "./limited-inspection.ts";

function answer({ path, options }: { readonly path: string; readonly options: InspectOptions }): WorkerAnswer {
  try {
    const { graph, origin } = readModel(path);
    return { result: { opset: origin.opset, inspection: inspectModel(graph, options) } };
  } catch (error) {
    if (error instanceof FrostbitError) return { failure: { code: error.code, lines: error.lines } };
    throw error;
  }
}

parentPort?.postMessage(answer(workerData));
