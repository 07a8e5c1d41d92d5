// Engines by name.
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Engine } from "./engine.ts";
import { isNativeBuilt } from "./native/addon.ts";
import { createNativeEngine } from "./native/native-engine.ts";
import { createOnnxRuntimeEngine } from "./onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "./reference/reference-engine.ts";

export const engineNames = ["auto", "onnxruntime", "native", "reference"] as const;
/**
 * "onnxruntime": ONNX Runtime, everywhere. "native": C++ over oneDNN, Linux x64. "reference": plain loops, slow. "auto": see
 * `selectEngine`.
 * @useDeclaredType
 */
export type EngineName = (typeof engineNames)[number];

const runsAll = (engine: Engine, graphs: readonly Graph[]): boolean =>
  graphs.every((graph) => graph.nodes.every((node) => engine.supports(node, graph)));

/**
 * An engine by its name. "auto" is the native engine where it is built and runs all that is asked of it, else onnxruntime (docs/decisions/0013).
 * Throws BAD_OPTION for another name, ENGINE for "native" where it is not built.
 *
 * @param graphs - what it is to run; with none, "auto" is onnxruntime
 */
export function selectEngine(name: EngineName, graphs: readonly Graph[] = []): Engine {
  switch (name) {
    case "auto":
      return graphs.length > 0 && isNativeBuilt() && runsAll(createNativeEngine(), graphs)
        ? createNativeEngine()
        : createOnnxRuntimeEngine();
    case "onnxruntime":
      return createOnnxRuntimeEngine();
    case "native":
      return createNativeEngine();
    case "reference":
      return createReferenceEngine();
    default:
      throw new FrostbitError("BAD_OPTION", `engine is ${JSON.stringify(name)}; expected ${engineNames.join(", ")}.`);
  }
}
