// A deployed model, opened in onnxruntime-node.
import { type DeployedOptions, openDeployedIn } from "./open-deployed.ts";
import type { Session } from "./open-session.ts";
import { loadOrt } from "./ort-module.ts";

/**
 * Opens a model file, or its bytes, in onnxruntime-node as its users open it, with default optimizations. Inputs and outputs in
 * half precision are float32 to the caller. `dispose()` ends it. Throws ENGINE where onnxruntime-node is not installed or
 * refuses the model.
 *
 * @example
 * const file = await openDeployed("out/model.onnx", { threads: 1 });
 */
export async function openDeployed(bytes: Uint8Array | string, options: DeployedOptions = {}): Promise<Session> {
  return openDeployedIn(await loadOrt(), bytes, options);
}
