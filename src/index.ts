// Everything that Frostbit offers as a library. Importing it loads no engine; ONNX Runtime is loaded when it is used.

// Files

export { type QuantizeFileJob, type QuantizeFileResult, quantizeFile } from "./node/quantize-file.ts";
export { readModel } from "./node/read-model.ts";
export { readOnnx } from "./onnx/read.ts";
export { type WriteOptions, writeOnnx } from "./onnx/write.ts";

// Data

export type { Dataset, InputType, Samples, Source } from "./data/dataset.ts";
export { memoryDataset } from "./data/memory-dataset.ts";
export { type Preprocess, type PreprocessPreset, resolvePreprocess } from "./data/preprocess.ts";
export { type OpenDataOptions, openData, openTestData } from "./node/open-data.ts";

// Quantizing and training

export type { QuantizeJob } from "./quantize/job.ts";
export { type RunOptions, runOptions } from "./quantize/options.ts";
export { type QuantizeOutcome, quantizeModel } from "./quantize/quantize-model.ts";
export { type Report, reportSchema } from "./report/report.ts";
export type { Context, Progress } from "./training/context.ts";

// Looking at models

export { type Comparison, compareModels } from "./compare/compare-models.ts";
export { openDeployed } from "./engines/onnxruntime/deployed.ts";
export { evaluateGraph } from "./evaluate/evaluate-graph.ts";
export { evaluateModel } from "./evaluate/evaluate-model.ts";
export type { ModelFile } from "./evaluate/model-file.ts";
export type { Accuracy } from "./evaluate/score.ts";
export { type Inspection, inspectModel } from "./inspect/inspect-model.ts";

// Graphs, and the engines that run them

export type { CompileOptions, Engine, Executable, Program, Variables } from "./engines/engine.ts";
export { type EngineName, selectEngine } from "./engines/select.ts";
export type { Builder } from "./ir/builder.ts";
export type { DType } from "./ir/dtype.ts";
export { type ErrorCode, FrostbitError } from "./ir/errors.ts";
export type { Attribute, Dim, Graph, Node, OnnxModel, Origin, ValueType } from "./ir/graph.ts";
export { type Tensor, tensor, tensorOf } from "./ir/tensor.ts";
export { buildOn } from "./ops/infer.ts";
