// Whole models in ONNX Runtime, the oracle of reading and writing.
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import type { DType } from "../../src/ir/dtype.ts";
import type { Tensor } from "../../src/ir/tensor.ts";

/** Runs a model without graph optimizations. */
export async function runModel(
  bytes: Uint8Array,
  inputs: ReadonlyMap<string, Tensor>,
): Promise<ReadonlyMap<string, Tensor>> {
  const session = await InferenceSession.create(bytes, {
    graphOptimizationLevel: "disabled",
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  try {
    const feeds: Record<string, OrtTensor> = {};
    for (const [name, { dtype, data, shape }] of inputs)
      feeds[name] = new OrtTensor(dtype as "float32", data as Float32Array, shape);
    const results = await session.run(feeds);
    return new Map(
      Object.entries(results).map(([name, { type, dims, data }]) => [
        name,
        { dtype: type as DType, shape: [...dims], data: data as Tensor["data"] },
      ]),
    );
  } finally {
    await session.release();
  }
}
