// A lowered graph as the bytes of an ONNX file.
import type { Graph } from "../../ir/graph.ts";
import { newestOpset } from "../../onnx/decode-model.ts";
import { writeOnnx } from "../../onnx/write.ts";

export function encodeGraph(graph: Graph): Uint8Array {
  const origin = {
    opset: newestOpset,
    irVersion: 12,
    producerName: "frostbit",
    producerVersion: "",
    domain: "",
    modelVersion: 0n,
    docString: "",
    metadata: new Map<string, string>(),
  };
  return writeOnnx({ graph, origin }, { opset: newestOpset });
}
