// What ONNX Runtime's optimizer makes of a model: which kernels run.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, type NodeProto } from "onnx-buf";
import { InferenceSession } from "onnxruntime-node";

export async function optimizedNodes(bytes: Uint8Array): Promise<readonly NodeProto[]> {
  const folder = mkdtempSync(join(tmpdir(), "optimized-"));
  try {
    const optimizedModelFilePath = join(folder, "model.onnx");
    const options = { optimizedModelFilePath, intraOpNumThreads: 1, logSeverityLevel: 3 } as const;
    await (await InferenceSession.create(bytes, options)).release();
    return fromBinary(ModelProtoSchema, readFileSync(optimizedModelFilePath)).graph?.node ?? [];
  } finally {
    rmSync(folder, { recursive: true });
  }
}
