// From the trained graph to a verified file.
import { exportQdq } from "../export/qdq.ts";
import { checkVerification, type Verification, verifyExport } from "../export/verify.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { type Folded, foldQuantizers } from "../quantizers/fold.ts";
import type { Context } from "../training/context.ts";
import type { QuantizeJob } from "./job.ts";

export interface ExportedModel {
  readonly bytes: Uint8Array;
  /** Absent for a float model. */
  readonly quantized?: { readonly folded: Folded; readonly verification: Verification };
}

/** Throws VERIFICATION if the file does not do in ONNX Runtime what the folded graph does. */
export async function exportModel(
  { model, options, openDeployed }: QuantizeJob,
  trained: Graph,
  samples: readonly ReadonlyMap<string, Tensor>[],
  context: Context,
): Promise<ExportedModel> {
  const { origin } = model;
  if (options.method === "float") return { bytes: writeOnnx({ graph: trained, origin }, { opset: origin.opset }) };
  const folded = foldQuantizers(trained, options.placement === "runtime" ? "int32" : "float");
  const exported = exportQdq(folded, origin, options.storage);
  const bytes = writeOnnx(exported.model, { opset: exported.opset });
  const verification = await verifyExport(folded, exported, bytes, samples, openDeployed, context);
  checkVerification(verification);
  return { bytes, quantized: { folded, verification } };
}
