// Everything that one run of `quantize` can be told.
import { z } from "zod";
import { efqatOptions } from "../methods/efqat/options.ts";
import { quantizeOptions } from "../quantizers/quantize-options.ts";
import { trainingConflicts, trainingOptions } from "../training/options.ts";
import { targetConflicts, targetNames, withTarget } from "./targets.ts";

/** What prepares for quantizing, or follows it, has no place where nothing is quantized. */
const methodConflicts = ({ method, prepare }: { readonly method: string; readonly prepare: readonly string[] }) =>
  method === "float" && prepare.length > 0
    ? [{ option: "prepare", message: `is ${prepare.join(",")}; method float trains the model as it is. Leave it out` }]
    : [];

/** The fields, for flags and documents; `runOptions.parse` heeds the target too. */
export const runSchema = z
  .strictObject({
    method: z
      .enum(["ptq", "efqat", "qat", "float"])
      .default("efqat")
      .describe(
        "ptq rounds and trains nothing; efqat (Efficient QAT) trains scales, biases, norms and the most important share of the weights; qat trains everything; float trains the model without quantizers.",
      ),
    target: z
      .enum(targetNames)
      .optional()
      .describe(
        "The runtime that the file is for: fills in placement, storage, symmetricActivations and, for avx2, 7-bit weights.",
      ),
    ...quantizeOptions.shape,
    ...efqatOptions.shape,
    ...trainingOptions.shape,
    storage: z
      .enum(["packed", "int8"])
      .default("packed")
      .describe(
        "Whether 4-bit and narrower values are stored packed (opset 21), or carried in 8 bits, as integer kernels want them.",
      ),
    seed: z
      .int()
      .min(0)
      .default(0)
      .describe("Seed of the calibration sample, the order of the data, augmentation and the random control."),
    outputs: z
      .array(z.string())
      .min(1)
      .optional()
      .describe(
        "Outputs that the loss and the figures are of, a classifier's scores first; else all, in the model's order.",
      ),
    accuracies: z
      .enum(["all", "deployed"])
      .default("all")
      .describe(
        "What is measured on the test data: every stage, or the float model and the exported file alone, which is sooner done with much test data.",
      ),
    limit: z
      .int()
      .positive()
      .optional()
      .describe("Use at most this many samples of the training and of the test data."),
  })
  .superRefine((options, context) => {
    const training = options.method === "ptq" ? [] : trainingConflicts(options);
    for (const { option, message } of [...targetConflicts(options), ...methodConflicts(options), ...training])
      context.addIssue({ code: "custom", path: [option], message });
  });

/**
 * Everything that one run can be told, each option with a value. `docs/options.md` has their ranges, defaults and meanings.
 */
export type RunOptions = z.output<typeof runSchema>;

/**
 * Checks options and fills in what their target chooses and the defaults. Throws what zod throws, naming each option at fault.
 *
 * @example
 * const options = runOptions.parse({ weights: 4, activations: 8, method: "efqat", updateRatio: 0.25 });
 */
export const runOptions: {
  /** `given`: the options that are not to have their defaults. */
  readonly parse: (given: Readonly<Record<string, unknown>>) => RunOptions;
} = {
  parse: (given) => runSchema.parse(withTarget(given)),
};
