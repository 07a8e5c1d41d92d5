/**
 * Everything that Frostbit offers as a library, for Node. Importing it loads no engine; ONNX Runtime is loaded when it is used.
 *
 * @module frostbit
 */

// Files

export type { ByteSource } from "./ir/tensor-source.ts";
export { type EvaluateFileJob, evaluateFile } from "./node/evaluate-file.ts";
export { type EvaluateTextJob, evaluateText, type TextMetrics } from "./node/evaluate-text.ts";
export { type GeneratedText, type GenerateTextJob, generateText } from "./node/generate-text.ts";
export { loadHighs } from "./node/load-highs.ts";
export { type QuantizeFileJob, type QuantizeFileResult, quantizeFile } from "./node/quantize-file.ts";
export { quantizeForTransformersJs, type TransformersJsJob } from "./node/quantize-for-transformers-js.ts";
export {
  type FormChoices,
  type FormFile,
  quantizeWithoutData,
  type WithoutDataJob,
  type WithoutDataResult,
} from "./node/quantize-without-data.ts";
export { readModel } from "./node/read-model.ts";
export { type RunCheck, type RunVerification, type VerifyRunOptions, verifyRun } from "./node/verify-run.ts";
export type { ExternalTarget } from "./onnx/encode-tensor.ts";
export type { ExternalSource } from "./onnx/external-data.ts";
export { type ReadOptions, readOnnx } from "./onnx/read.ts";
export { type WriteOptions, writeOnnx } from "./onnx/write.ts";

// Ablations

export type { Axis } from "./ablate/axes.ts";
export { type AblationPlan, ablationFromRecipe, type Cell, type Setting } from "./ablate/plan.ts";
export { type AblateFileJob, ablateFile } from "./node/ablate-file.ts";
export type { Ablation } from "./report/ablation.ts";

// Data

export type { Dataset, InputType, Layout, Samples, Source } from "./data/dataset.ts";
export type { ImageOptions, Size } from "./data/image-size.ts";
export type { LabelValues } from "./data/labels.ts";
export { memoryDataset } from "./data/memory-dataset.ts";
export { type Preprocess, type PreprocessPreset, resolvePreprocess } from "./data/preprocess.ts";
export type { Sampling } from "./language-models/sample-token.ts";
export type { TextForm } from "./language-models/text-data.ts";
export { type OpenDataOptions, openData, openTestData } from "./node/open-data.ts";
export type { SentenceOptions } from "./node/open-sentences.ts";
export { openTextSource, type TextOptions, type TextSourceOptions } from "./node/open-text.ts";

// Quantizing and training

export type { Storage } from "./data/storage.ts";
export type { LayerMeasures } from "./evaluate/layer-sensitivity.ts";
export type { ExportedFile } from "./export/format.ts";
export type { LayerVerification, OpenDeployed, OpenedModel, Verification } from "./export/verify.ts";
export type { Agreement } from "./forms/agreement.ts";
export type { FormName } from "./forms/table.ts";
export type { RefusedForm } from "./forms/write-forms.ts";
export type {
  Findings,
  IntegerSolver,
  MethodStep,
  TrainingRecord,
  WidthFindings,
  WidthPlan,
} from "./methods/method.ts";
export type { Goal } from "./options/goal.ts";
export { runOptions } from "./options/recipe.ts";
export type { RunOptions } from "./options/run-options.ts";
export type { ModelVerification } from "./quantize/export-model.ts";
export type { MemoryEstimate, QuantizeJob } from "./quantize/job.ts";
export type { Latency, QuantizeOutcome, Top1 } from "./quantize/outcome.ts";
export { quantizeModel } from "./quantize/quantize-model.ts";
export type { Histogram, QuantizerRange } from "./quantizers/histogram.ts";
export type { Bounds } from "./quantizers/quantizer.ts";
export type { UnitRecord } from "./reconstruction/reconstruct-unit.ts";
export type { RateFactors } from "./reconstruction/search-rates.ts";
export { type Report, reportSchema } from "./report/report.ts";
export type { AwayFromNearest } from "./rounding/count-away.ts";
export type { Context, Progress } from "./run/context.ts";
export type { CheckpointOptions } from "./training/checkpoint.ts";
export type { TrainingResult } from "./training/train-by-plan.ts";

// Looking at models

export { type ComparedValue, type CompareOptions, type Comparison, compareModels } from "./compare/compare-models.ts";
export type { Communicator, Traffic } from "./distributed/communicator.ts";
export { openDeployed } from "./engines/onnxruntime/deployed.ts";
export type { DeployedOptions } from "./engines/onnxruntime/open-deployed.ts";
export type { Session } from "./engines/onnxruntime/open-session.ts";
export type { ChannelDistance } from "./evaluate/channel-sums.ts";
export type { OutputDistance } from "./evaluate/distance.ts";
export { evaluateGraph } from "./evaluate/evaluate-graph.ts";
export { type EvaluateOptions, evaluateModel } from "./evaluate/evaluate-model.ts";
export {
  areaUnderCurve,
  type Box,
  type DetectionMetric,
  meanAbsoluteError,
  meanAveragePrecision,
  type ScoredBox,
  topK,
} from "./evaluate/known-metrics.ts";
export type { Metrics } from "./evaluate/metrics.ts";
export type { ModelFile } from "./evaluate/model-file.ts";
export type { MetricAccumulator, OwnMetric, SampleMetric, SampleOutputs } from "./evaluate/own-metric.ts";
export {
  type InspectedLayer,
  type InspectedValue,
  type Inspection,
  type InspectOptions,
  inspectModel,
  type LearnedConstant,
  type QuantizedLayer,
  type Refusal,
} from "./inspect/inspect-model.ts";
export { openMetric } from "./node/open-metric.ts";
export type { Unit, UnitKind } from "./units/units.ts";

// Graphs, and the engines that run them

export type {
  CompileOptions,
  Engine,
  Executable,
  KernelChoices,
  Precision,
  Program,
  ProgramRunOptions,
  Tuning,
  Variables,
} from "./engines/engine.ts";
export { type EngineName, selectEngine } from "./engines/select.ts";
export type { Builder } from "./ir/builder.ts";
export type { DType, NumberArray, TypedArray } from "./ir/dtype.ts";
export { type ErrorCode, FrostbitError } from "./ir/errors.ts";
export type { Attribute, Dim, Graph, Node, OnnxModel, Origin, ValueType } from "./ir/graph.ts";
export type { HalfType } from "./ir/half.ts";
export { type Tensor, tensor, tensorOf } from "./ir/tensor.ts";
export { buildOn } from "./ops/infer.ts";
