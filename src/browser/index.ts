/**
 * What Frostbit offers in a browser: the same core without files. The program brings ONNX Runtime's module, so that it chooses
 * which build of onnxruntime-web is loaded, and when.
 *
 * @module frostbit/browser
 */

// Models

export { readOnnx } from "../onnx/read.ts";
export { type WriteOptions, writeOnnx } from "../onnx/write.ts";

// Data

export type { Dataset, InputType, Samples, Source } from "../data/dataset.ts";
export { memoryDataset } from "../data/memory-dataset.ts";
export { parseDatasetModule } from "../data/module-dataset.ts";
export { type Preprocess, type PreprocessPreset, resolvePreprocess } from "../data/preprocess.ts";

// Quantizing and training

export type { Communicator, Traffic } from "../distributed/communicator.ts";
export type {
  OrtModule,
  OrtSession,
  OrtSessionOptions,
  OrtTensor,
  OrtValue,
} from "../engines/onnxruntime/ort-module.ts";
export type { Goal } from "../options/goal.ts";
export { runOptions } from "../options/recipe.ts";
export type { RunOptions } from "../options/run-options.ts";
export type { MemoryEstimate, QuantizeJob } from "../quantize/job.ts";
export type { QuantizeOutcome } from "../quantize/outcome.ts";
export { quantizeModel } from "../quantize/quantize-model.ts";
export type { Context, Progress } from "../run/context.ts";
export { type Runtime, type RuntimeOptions, runtimeOf } from "./runtime.ts";

// Looking at models

export { evaluateGraph } from "../evaluate/evaluate-graph.ts";
export { evaluateModel } from "../evaluate/evaluate-model.ts";
export type { ModelFile } from "../evaluate/model-file.ts";
export { type Inspection, type InspectOptions, inspectModel } from "../inspect/inspect-model.ts";
export { type ErrorCode, FrostbitError } from "../ir/errors.ts";
export type { Graph, OnnxModel } from "../ir/graph.ts";
export { type Tensor, tensor, tensorOf } from "../ir/tensor.ts";
