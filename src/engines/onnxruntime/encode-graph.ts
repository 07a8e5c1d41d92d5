// A lowered graph as the bytes of an ONNX file.
import type { Graph } from "../../ir/graph.ts";
import { opsetFor, writeOnnx } from "../../onnx/write.ts";

/** What the oldest ONNX Runtime reads that is supported. */
const leastOpset = 24;

export function encodeGraph(graph: Graph): Uint8Array {
  const opset = opsetFor(graph, leastOpset);
  const origin = {
    opset,
    irVersion: 12,
    producerName: "frostbit",
    producerVersion: "",
    domain: "",
    modelVersion: 0n,
    docString: "",
    metadata: new Map<string, string>(),
  };
  return writeOnnx({ graph, origin }, { opset });
}
