// What ONNX Runtime's optimizer makes of a model: which kernels run.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, type NodeProto, type TensorProto } from "onnx-buf";
import { InferenceSession } from "onnxruntime-node";

export const optimizedNodes = async (bytes: Uint8Array): Promise<readonly NodeProto[]> =>
  (await optimizedGraph(bytes)).nodes;

interface OptimizedGraph {
  readonly nodes: readonly NodeProto[];
  readonly constants: ReadonlyMap<string, TensorProto>;
}

export async function optimizedGraph(bytes: Uint8Array): Promise<OptimizedGraph> {
  const folder = mkdtempSync(join(tmpdir(), "optimized-"));
  try {
    const optimizedModelFilePath = join(folder, "model.onnx");
    const options = { optimizedModelFilePath, intraOpNumThreads: 1, logSeverityLevel: 3 } as const;
    await (await InferenceSession.create(bytes, options)).release();
    const { graph } = fromBinary(ModelProtoSchema, readFileSync(optimizedModelFilePath));
    return {
      nodes: graph?.node ?? [],
      constants: new Map(graph?.initializer.map((constant) => [constant.name, constant])),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
