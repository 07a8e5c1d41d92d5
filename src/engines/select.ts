// Engines by name.
import { checkChoice } from "../ir/check-options.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Engine } from "./engine.ts";
import { type EngineEntry, type EngineKey, engineEntries, engines } from "./table.ts";

/**
 * "onnxruntime": ONNX Runtime, everywhere. "native": C++ over oneDNN, Linux on x64 and arm64. "reference": plain loops, slow. "auto": see
 * `selectEngine`.
 * @useDeclaredType
 */
export type EngineName = "auto" | EngineKey;

export const engineNames: readonly ["auto", ...EngineKey[]] = ["auto", ...engineEntries.map(([name]) => name)];

const runsAll = (engine: Engine, graphs: readonly Graph[]): boolean =>
  graphs.every((graph) => graph.nodes.every((node) => engine.supports(node, graph)));

/** The first preferred engine that runs all graphs, else the fallback (docs/decisions/0013). */
function automatic(graphs: readonly Graph[]): Engine {
  const entries = engineEntries.map(([, entry]) => entry);
  const runs = ({ auto, isAvailable, create }: EngineEntry): boolean =>
    auto === "preferred" && graphs.length > 0 && isAvailable() && runsAll(create(), graphs);
  const chosen = entries.find(runs) ?? entries.find(({ auto }) => auto === "fallback");
  assert(chosen, "no engine is the fallback of auto");
  return chosen.create();
}

/**
 * An engine by its name. "auto" is the native engine where it is built for x64 and runs all that is asked of it, else onnxruntime (docs/decisions/0013).
 * Throws BAD_OPTION for another name, ENGINE for "native" where it is not built.
 *
 * @param graphs - what it is to run; with none, "auto" is onnxruntime
 */
export function selectEngine(name: EngineName, graphs: readonly Graph[] = []): Engine {
  if (name === "auto") return automatic(graphs);
  checkChoice("engine", name, engineNames);
  return engines[name].create();
}
