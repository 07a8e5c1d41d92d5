// A deployed model, opened in onnxruntime-node.
import { openDeployedIn } from "./open-deployed.ts";
import type { Session } from "./open-session.ts";
import { loadOrt } from "./ort-module.ts";

/** Inputs and outputs in half precision are float32 to the caller. */
export async function openDeployed(
  bytes: Uint8Array | string,
  options: { readonly threads?: number } = {},
): Promise<Session> {
  return openDeployedIn(await loadOrt(), bytes, options);
}
