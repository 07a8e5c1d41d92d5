// From the trained graph to a verified file.
import { type Exported, exportQdq } from "../export/qdq.ts";
import { checkVerification, type OpenDeployed, type Verification, verifyExport } from "../export/verify.ts";
import type { Graph, OnnxModel } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { type Folded, foldQuantizers } from "../quantizers/fold.ts";
import type { Context } from "../training/context.ts";
import type { RunOptions } from "./options.ts";

export interface Written {
  readonly bytes: Uint8Array;
  /** Absent for a float model. */
  readonly quantized?: { readonly folded: Folded; readonly exported: Exported };
}

/** The model as a file, not yet verified. Also run before training, so that what cannot be written fails early. */
export function writeModel(
  { origin }: Pick<OnnxModel, "origin">,
  graph: Graph,
  { method, placement, storage }: RunOptions,
): Written {
  if (method === "float") return { bytes: writeOnnx({ graph, origin }, { opset: origin.opset }) };
  const folded = foldQuantizers(graph, placement === "runtime" ? "int32" : "float");
  const exported = exportQdq(folded, origin, storage);
  return { bytes: writeOnnx(exported.model, { opset: exported.opset }), quantized: { folded, exported } };
}

/** Throws VERIFICATION if the file does not do in ONNX Runtime what the folded graph does. */
export async function verifyModel(
  { bytes, quantized }: Written,
  samples: readonly ReadonlyMap<string, Tensor>[],
  open: OpenDeployed,
  context: Context,
): Promise<Verification | undefined> {
  if (!quantized) return undefined;
  const verification = await verifyExport(quantized.folded, quantized.exported, bytes, samples, open, context);
  checkVerification(verification);
  return verification;
}
