// Everything that one run of `quantize` can be told, in the one form that command, recipes and library have.
import { z } from "zod";
import { type Stage, stages } from "../evaluate/stages.ts";
import { methodOf } from "../methods/index.ts";
import type { Method, MethodStep } from "../methods/method.ts";
import { checkpointFormatNames } from "../quantizers/checkpoint-format-names.ts";
import { quantizeOptions } from "../quantizers/quantize-options.ts";
import type { Goal } from "./goal.ts";
import { targetNames } from "./targets.ts";

/** What a recipe has under `quantize`. */
export const quantizationOptions = z.object({
  target: z
    .enum(targetNames)
    .optional()
    .describe(
      "The runtime that the file is for: fills in placement, storage, symmetricActivations and, for avx2, 7-bit weights.",
    ),
  ...quantizeOptions.shape,
  storage: z
    .enum(["packed", "int4", "int8"])
    .default("packed")
    .describe(
      "How weights of fewer than 8 bits are stored: packed, each width in as many bits, which ONNX Runtime unpacks into 8 when it opens the file (4-bit ones: 1.23 and newer); int4, those of 4 bits and fewer in ONNX's type of 4 bits, which is computed in float; int8, in 8 bits.",
    ),
  format: z
    .array(z.enum(["onnx", ...checkpointFormatNames]))
    .default(["onnx"])
    .describe(
      "What a language model is written in: ONNX always, which is what is measured, and the others beside it, of the same weights.",
    ),
  outputs: z
    .array(z.string())
    .min(1)
    .optional()
    .describe(
      "Outputs that the loss and the figures are of, a classifier's scores first; else all, in the model's order.",
    ),
});

/** What is of the run as a whole. */
export const wholeOptions = z.object({
  seed: z
    .int()
    .min(0)
    .default(0)
    .describe("Seed of the calibration sample, the order of the data, augmentation and the random control."),
  accuracies: z
    .enum(["all", "deployed"])
    .optional()
    .describe(
      "What is measured on the test data: every stage, or the float model and the exported file alone, which is sooner done; by default every stage where something trains.",
    ),
  limit: z.int().positive().optional().describe("Use at most this many samples of the training and of the test data."),
});

export type QuantizationOptions = z.output<typeof quantizationOptions>;

/**
 * Everything that one run can be told, each option with a value: `runOptions.parse` gives it. `docs/options.md` has the options'
 * ranges, defaults and meanings.
 */
export interface RunOptions extends z.output<typeof wholeOptions> {
  readonly quantize: QuantizationOptions;
  /** In the order in which they run; where something is quantized, "ptq" among them. */
  readonly methods: readonly MethodStep[];
  /** What the ladder works for, where it chooses the methods: those above are then those that it starts with. */
  readonly goal?: Goal;
}

type Steps = readonly Pick<MethodStep, "method">[];

const hasPhase = (steps: Steps, phase: Method["phase"]): boolean =>
  steps.some((step) => methodOf(step).phase === phase);

export const isQuantized = ({ methods }: { readonly methods: Steps }): boolean => hasPhase(methods, "calibration");

export const trains = (step: Pick<MethodStep, "method">): boolean => methodOf(step).training !== "none";

/** Whether it writes checkpoints and goes on from them. */
export const resumes = (step: MethodStep): boolean => methodOf(step).resumes(step.options);
/** Whether the stages between the float model and the exported file are measured. */
export const measuresAllStages = ({ accuracies, methods }: Pick<RunOptions, "accuracies" | "methods">): boolean =>
  accuracies === undefined ? methods.some(trains) : accuracies === "all";

/** Those that a run of these methods has. */
export function stagesOf(run: { readonly methods: Steps }): readonly Stage[] {
  const has: Readonly<Record<Stage, boolean>> = {
    float: true,
    ptq: isQuantized(run),
    trained: run.methods.some(trains),
    quantized: isQuantized(run),
    deployed: true,
  };
  return stages.filter((stage) => has[stage]);
}
