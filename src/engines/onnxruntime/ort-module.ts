// ONNX Runtime's module: an optional peer that is loaded when it is used.
import type * as Ort from "onnxruntime-node";
import { FrostbitError } from "../../ir/errors.ts";

/** What onnxruntime-node and onnxruntime-web have in common. */
export type OrtModule = Pick<typeof Ort, "InferenceSession" | "Tensor">;
export type OrtSession = Ort.InferenceSession;
export type OrtTensor = Ort.Tensor;

let loaded: Promise<OrtModule> | undefined;

/** onnxruntime-node, once. */
export function loadOrt(): Promise<OrtModule> {
  loaded ??= importOrt();
  return loaded;
}

async function importOrt(): Promise<OrtModule> {
  try {
    const module: OrtModule & { readonly default?: OrtModule } = await import("onnxruntime-node");
    return module.default ?? module;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FrostbitError(
      "ENGINE",
      `onnxruntime-node cannot be loaded (${reason}). Install it: npm install onnxruntime-node (behind a firewall with ONNXRUNTIME_NODE_INSTALL=skip in the environment).`,
      { cause },
    );
  }
}
