// What a method is: one step of quantizing, with its options. `index.ts` lists all of them; add-a-method.md tells how one is added.
import type { z } from "zod";
import type { Dataset } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { LevelGrid, QuantizeOptions } from "../quantizers/quantize-options.ts";
import type { UnitRecord } from "../reconstruction/reconstruct-unit.ts";
import type { Context } from "../run/context.ts";
import type { CheckpointOptions } from "../training/checkpoint.ts";
import type { LossName } from "../training/loss.ts";
import type { ParameterRole } from "../training/parameters.ts";
import type { TrainingResult } from "../training/train-by-plan.ts";

/**
 * When a method runs: methods of an earlier phase come first. "calibration" puts the quantizers in, "rounding" chooses the integers
 * of weights: a run has one method of each. Of what comes before and after them a run has each method once. "training" may follow itself.
 * "float-training" is alone in its run, which quantizes nothing.
 */
export const phases = [
  "before-calibration",
  "calibration",
  "rounding",
  "after-calibration",
  "training",
  "float-training",
] as const;
export type Phase = (typeof phases)[number];

export type Fields = Readonly<Record<string, unknown>>;

/** A method of a run, by name, and its options, each with a value. */
export interface MethodStep {
  readonly method: string;
  readonly options: Readonly<Record<string, unknown>>;
}

/** A model on its way through the methods. */
export interface MethodModel {
  /** As the methods so far left it. */
  readonly graph: Graph;
  /** The model in float as it was given: what distillation follows. */
  readonly original: Graph;
  /** The model in float as it was quantized: what quantized layers are compared with. Until calibration, `graph`. */
  readonly float: Graph;
  /** How it is quantized; a method before calibration may choose other bits. */
  readonly quantize: QuantizeOptions;
  /** The outputs that losses are of; all of them where absent. */
  readonly outputs: readonly string[] | undefined;
}

export interface MethodData {
  readonly train: Dataset;
  readonly preprocess: Preprocess;
}

/** What a method's `run` is given. Random choices are drawn from `context.seed`. */
export interface MethodJob<Options> {
  readonly model: MethodModel;
  readonly data: MethodData;
  readonly options: Options;
  /** Which scales the training after it starts from; of interest to calibration. */
  readonly scales: Scales;
  /** Whether a method before it in the run chose the integers of weights. */
  readonly isRounded: boolean;
  /** Of the files that this graph would be written to, its quantizers inserted. */
  readonly fileBytes: (graph: Graph) => number;
  /** Median milliseconds of a run of each of these graphs, written and opened in ONNX Runtime, in turn. */
  readonly timeFiles: (graphs: readonly Graph[], inputs: ReadonlyMap<string, Tensor>) => Promise<readonly number[]>;
  /** What solves integer programs; throws ENGINE, saying how to get it, where the run has none. */
  readonly loadSolver: () => Promise<IntegerSolver>;
  /** Where checkpoints go. Each method that trains or goes on from checkpoints has its own files. */
  readonly checkpoints?: CheckpointOptions;
}

/** Solves a program in CPLEX's LP format, as npm's `highs` does. */
export interface IntegerSolver {
  /** Throws where the program is malformed. */
  readonly solve: (
    program: string,
    options?: Readonly<Record<string, unknown>>,
  ) => {
    readonly Status: string;
    /** By variable. */
    readonly Columns: Readonly<Record<string, { readonly Primal?: number }>>;
  };
}

/** Scales that are whole powers of two, or any. */
export type Scales = "any" | "powers-of-two";

/** What was trained, for the report. */
export interface TrainingRecord extends Omit<TrainingResult, "model"> {
  /** Of weights, by step. */
  readonly learningRates: readonly number[];
  /** Samples seen until then, by step: methods may have batches of different sizes. */
  readonly samples: readonly number[];
  /** Where the model before training was kept: a sentence that says so. */
  readonly undone?: string;
  /** Learning rates that were tried first, with the loss of each on samples held out; infinite where it diverged. */
  readonly trial?: readonly { readonly learningRate: number; readonly loss: number }[];
}

/** A plan of bits for every layer: what it takes of the budget, and what it was found to lose. */
export interface WidthPlan {
  /** What chose it: a sensitivity, or "uniform". */
  readonly by: string;
  readonly bits: readonly number[];
  readonly amount: number;
  /** Of the outputs, with all layers at their bits. */
  readonly divergence: number;
}

/** What mixed precision chose from. */
export interface WidthFindings {
  /** Layers of which each weight is chosen, and those whose bits were given. */
  readonly layers: readonly {
    readonly names: readonly string[];
    readonly weights: number;
    readonly isGiven: boolean;
    readonly bits: number;
  }[];
  /** Amounts are of the first budget where there are several. */
  readonly budget: { readonly unit: "bits" | "bytes" | "ms" | "bops"; readonly most: number };
  /** By measure, of each layer whose bits are chosen, the loss at each width. */
  readonly sensitivities: readonly {
    readonly by: string;
    readonly losses: readonly ReadonlyMap<number, number>[];
  }[];
  /** Those that were tried, the chosen one first; bits in the order of the layers that are chosen. */
  readonly plans: readonly WidthPlan[];
  /** By the first sensitivity: the least loss that any plan of at most this amount is said to have. */
  readonly front: readonly { readonly amount: number; readonly loss: number }[];
  /** The same bits for all layers that are chosen. */
  readonly uniform: readonly { readonly bits: number; readonly amount: number; readonly loss: number }[];
}

/** What a method found on the way, for the report. */
export interface Findings {
  /** In the order in which they trained, phase after phase. */
  readonly units?: readonly UnitRecord[];
  readonly widths?: WidthFindings;
}

export interface MethodResult {
  readonly model: MethodModel;
  readonly findings?: Findings;
  /** Absent where nothing was trained. */
  readonly training?: TrainingRecord;
  /** Throws VERIFICATION where the file that the run wrote does not keep what the method promised. */
  readonly checkFile?: (file: WrittenFile) => void;
  /** The same of its time: milliseconds of one sample in ONNX Runtime, measured in turn with the float model. */
  readonly checkLatency?: (measured: { readonly float: number; readonly deployed: number }) => void;
}

/** What a run wrote. */
export interface WrittenFile {
  /** With everything that belongs to it. */
  readonly bytes: number;
  /** Quantized ones, each once. */
  readonly weights: readonly { readonly count: number; readonly bits: number }[];
}

/** An option that the others make wrong: "is 3; expected a number that divides the batch of 128". */
export interface Conflict {
  readonly option: string;
  readonly message: string;
}

/** Options that another choice leaves without effect, which is not an error: a script may change that choice alone. */
export interface UnusedRule<Options> {
  readonly options: readonly string[];
  /** The option whose choice decides; "method" where they never have an effect in this one. */
  readonly by: string;
  isUnused(options: Options): boolean;
}

/** What a method that trains provides. */
interface Training<Options> {
  /** What it trains, for `inspect`. */
  readonly roles: readonly ParameterRole[];
  loss(options: Options): LossName;
  scales(options: Options): Scales;
  /** What the report counts as one: the rows of a layer, or the layer as a whole. */
  blocks(options: Options): "rows" | "layers";
  /** A step of the first batch, with quantizers or without: what an engine must run, and what `inspect --plan` shows. */
  stepGraph(model: MethodModel, options: Options, seed: number): Graph;
}

/** A step of quantizing. Command, recipes, library, report, `inspect` and documents follow from what it says here. */
export interface Method<Options = Fields> {
  /** What users write: lower case with hyphens, and the name of its folder. */
  readonly name: string;
  /** What it does, for help and documents: "trains everything". */
  readonly summary: string;
  /** Of its own, those of training included; an option of the same name in another method is another option. */
  readonly options: z.ZodObject & z.ZodType<Options>;
  readonly phase: Phase;
  /** Grids of weights that it works on besides uniform ones. */
  readonly grids: readonly LevelGrid[];
  /** Options that, given as flags of the command, call for the method without `--method` or `--prepare` naming it. */
  readonly calledBy: readonly string[];
  readonly training: Training<Options> | "none";
  /** Whether it writes checkpoints and goes on from them. */
  resumes(options: Options): boolean;
  readonly unused: readonly UnusedRule<Options>[];
  /** What makes no sense together; `before`: the methods that run before it. */
  conflicts(options: Options, before: readonly MethodStep[]): readonly Conflict[];
  /** Throws BAD_MODEL, BAD_DATA or BAD_OPTION, before anything is computed; the model's `graph` has no quantizers that Frostbit inserted yet. */
  check(model: MethodModel, data: MethodData, options: Options): void;
  /** About how many bytes of so many samples it holds at its most; 0 where it holds a batch at a time. */
  heldBytes(model: MethodModel, options: Options, samples: number): number;
  run(job: MethodJob<Options>, context: Context): Promise<MethodResult>;
}
