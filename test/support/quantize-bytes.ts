// A whole run over a model given as bytes.
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { runOptions } from "../../src/options/recipe.ts";
import type { QuantizeOutcome } from "../../src/quantize/outcome.ts";
import { quantizeModel } from "../../src/quantize/quantize-model.ts";

/** By default with `ptq`, calibrated and measured on the same samples. */
export function quantizeBytes(
  bytes: Uint8Array,
  inputs: ReadonlyMap<string, Tensor>,
  options: Parameters<typeof runOptions.parse>[0] = {},
  labels?: Tensor,
  preprocess = resolvePreprocess("none"),
): Promise<QuantizeOutcome> {
  const data = memoryDataset("samples", inputs, labels);
  return quantizeModel(
    {
      model: readOnnx(bytes, { name: "model.onnx" }),
      source: { train: data, test: data, heldOut: false },
      preprocess,
      options: runOptions.parse(options),
      openDeployed: (file) => openDeployed(file, { threads: 1 }),
    },
    { engine: createOnnxRuntimeEngine(), seed: 0, threads: 1 },
  );
}
