// What one run is given.
import type { Source } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import type { OwnMetric } from "../evaluate/own-metric.ts";
import type { ExportedFile, ExportFormat } from "../export/format.ts";
import type { OpenDeployed } from "../export/verify.ts";
import type { OnnxModel } from "../ir/graph.ts";
import type { IntegerSolver } from "../methods/method.ts";
import type { RunOptions } from "../options/run-options.ts";
import type { CheckpointOptions } from "../training/checkpoint.ts";

/** What a phase holds at its most, besides the data and the program itself. */
export interface MemoryEstimate {
  readonly phase: "evaluation" | "calibration" | "rounding" | "training";
  readonly bytes: number;
}

/** The input of `quantizeModel`: the job of `quantizeFile` without its files. */
export interface QuantizeJob {
  /** What `readOnnx` or `readModel` gave. */
  readonly model: OnnxModel;
  readonly source: Source;
  readonly preprocess: Preprocess;
  /** What `runOptions.parse` gave. */
  readonly options: RunOptions;
  /** What the outputs are worth, instead of what the labels choose. */
  readonly metric?: OwnMetric;
  /** Opens the exported file for its verification: `openDeployed`, in a browser that of `runtimeOf`. */
  readonly openDeployed: OpenDeployed;
  /** Opens the model as given, which is then compared with what is quantized; not compared where absent. */
  readonly openGiven?: () => Promise<ModelFile>;
  /** Called before anything is computed, with what the run is estimated to hold; what it throws ends the run. */
  readonly checkMemory?: (estimates: readonly MemoryEstimate[]) => void;
  /** Loads what solves integer programs, for mixed precision within several budgets at once: in Node `loadHighs`. */
  readonly loadSolver?: () => Promise<IntegerSolver>;
  /** Where checkpoints go; without, none are written. */
  readonly checkpoints?: CheckpointOptions;
}

/** A job that says itself how the quantized model is written, as that of a language model does. */
export interface FormattedJob extends QuantizeJob {
  /** Where activations stay in float; as the options say where absent. */
  readonly format?: ExportFormat;
  /** Takes the model's file out of memory where it is large, until it is verified. */
  readonly keepFile?: (file: ExportedFile) => Promise<ExportedFile>;
}
