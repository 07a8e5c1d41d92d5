// ONNX Runtime's module, as the program loaded it, in the two parts that runs want.
import type { Engine } from "../engines/engine.ts";
import { openDeployedIn } from "../engines/onnxruntime/open-deployed.ts";
import type { OrtModule } from "../engines/onnxruntime/ort-module.ts";
import { createSessionEngine } from "../engines/onnxruntime/session-engine.ts";
import type { OpenDeployed } from "../export/verify.ts";

/** How ONNX Runtime is to run graphs. */
export interface RuntimeOptions {
  /** Where graphs are trained and evaluated; "webgpu" wants the module "onnxruntime-web/webgpu". The default is "wasm". */
  readonly provider?: "wasm" | "webgpu";
}

/** ONNX Runtime's module in the two parts that a run wants. */
export interface Runtime {
  /** For `Context.engine`. */
  readonly engine: Engine;
  /** For `QuantizeJob.openDeployed`: always in WebAssembly, whose kernels take the integers of an exported file. */
  readonly openDeployed: OpenDeployed;
}

/**
 * What `quantizeModel` needs of onnxruntime-web.
 *
 * @example
 * import * as ort from "onnxruntime-web/wasm";
 * const { engine, openDeployed } = runtimeOf(ort);
 *
 * @param ort - the module, as `import * as ort from "onnxruntime-web/wasm"` gives it
 */
export function runtimeOf(ort: OrtModule, { provider = "wasm" }: RuntimeOptions = {}): Runtime {
  const providers = provider === "wasm" ? ["wasm"] : ["webgpu", "wasm"];
  return {
    engine: createSessionEngine(() => Promise.resolve(ort), providers),
    openDeployed: (bytes, options) => openDeployedIn(ort, bytes, options),
  };
}
