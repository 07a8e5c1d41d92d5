// Every engine that this installation may run, by its name. A browser brings its own (browser/runtime.ts): native code is imported here.
import type { Engine } from "./engine.ts";
import { describeAddon, isNativeBuilt } from "./native/addon.ts";
import { isMeasuredHere } from "./native/find-addon.ts";
import { createNativeEngine } from "./native/native-engine.ts";
import { createOnnxRuntimeEngine } from "./onnxruntime/onnxruntime-engine.ts";
import { loadOrt } from "./onnxruntime/ort-module.ts";
import { createReferenceEngine } from "./reference/reference-engine.ts";

/** An engine as users choose it. */
export interface EngineEntry {
  /** Throws ENGINE where it cannot run here. */
  readonly create: () => Engine;
  /** Whether it can run here. */
  readonly isAvailable: () => boolean;
  /**
   * What "auto" takes: of the preferred ones, in the order of the table, the first that is available and runs everything;
   * the fallback where none does.
   */
  readonly auto: "preferred" | "fallback" | "never";
  /** What it is on this machine; throws FrostbitError with the reason and the remedy where it cannot run. */
  readonly describe: (versions: Readonly<Record<string, string>>) => Promise<string>;
  /** Whether `frostbit doctor` counts it as a problem where it cannot run. */
  readonly isRequired: boolean;
}

export const engines = {
  onnxruntime: {
    create: createOnnxRuntimeEngine,
    isAvailable: () => true,
    auto: "fallback",
    describe: async (versions) => {
      await loadOrt();
      return `onnxruntime-node ${versions["onnxruntime-node"]}`;
    },
    isRequired: true,
  },
  native: {
    create: createNativeEngine,
    isAvailable: isNativeBuilt,
    auto: isMeasuredHere ? "preferred" : "never",
    describe: async () => {
      const { oneDnn, oneDnnKernels, kernels, path, origin } = describeAddon();
      const precisions = createNativeEngine().precisions.join(" or ");
      return `computes in ${precisions}; oneDNN ${oneDnn} with ${oneDnnKernels}, own kernels with ${kernels}; ${origin}: ${path}`;
    },
    // What it runs, the others run too.
    isRequired: false,
  },
  reference: {
    create: createReferenceEngine,
    isAvailable: () => true,
    auto: "never",
    describe: async () => "built in; exact and slow",
    isRequired: true,
  },
} as const satisfies Readonly<Record<string, EngineEntry>>;

/** The name of one engine. */
export type EngineKey = keyof typeof engines;

export const engineEntries: readonly (readonly [EngineKey, EngineEntry])[] = Object.entries(engines) as [
  EngineKey,
  EngineEntry,
][];
