// Engines by name.
import { FrostbitError } from "../ir/errors.ts";
import type { Engine } from "./engine.ts";
import { createNativeEngine } from "./native/native-engine.ts";
import { createOnnxRuntimeEngine } from "./onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "./reference/reference-engine.ts";

export const engineNames = ["auto", "onnxruntime", "native", "reference"] as const;
export type EngineName = (typeof engineNames)[number];

/** "auto" is the one that runs every model; the native engine is asked for by name (docs/decisions/0013). */
export function selectEngine(name: EngineName): Engine {
  switch (name) {
    case "auto":
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
