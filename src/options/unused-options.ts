// Options that another choice leaves without effect: they are no error, since a script may change that choice alone.
import { efqatOptions } from "../methods/efqat/options.ts";
import { quantizeOptions } from "../quantizers/quantize-options.ts";
import { trainingOptions } from "../training/options.ts";
import type { RunOptions } from "./run-options.ts";

interface Rule {
  readonly options: readonly string[];
  /** The option whose choice decides. */
  readonly by: keyof RunOptions;
  readonly isIdle: (options: RunOptions) => boolean;
}

/** The first that holds for an option tells why. `precision` and `resume` are no options of a run, but of its training. */
const rules: readonly Rule[] = [
  {
    options: [...Object.keys(trainingOptions.shape), "precision", "resume"],
    by: "method",
    isIdle: ({ method }) => method === "ptq",
  },
  { options: Object.keys(efqatOptions.shape), by: "method", isIdle: ({ method }) => method !== "efqat" },
  {
    options: ["target", ...Object.keys(quantizeOptions.shape), "storage", "qparamLr", "qparamTraining"],
    by: "method",
    isIdle: ({ method }) => method === "float",
  },
  { options: ["momentum"], by: "optimizer", isIdle: ({ optimizer }) => optimizer !== "sgd" },
  { options: ["milestones", "decay"], by: "schedule", isIdle: ({ schedule }) => schedule !== "step" },
  { options: ["epochs"], by: "steps", isIdle: ({ steps }) => steps !== undefined },
];

/**
 * Which of the options `given` by name have no effect, a sentence for each choice that takes it from them:
 * `--mode, --update-ratio: no effect with --method ptq.` `print` spells a name as the user did.
 */
export function unusedNotes(options: RunOptions, given: readonly string[], print: (name: string) => string): string[] {
  const found = new Map<keyof RunOptions, string[]>();
  for (const name of given) {
    const rule = rules.find((one) => one.options.includes(name) && one.isIdle(options));
    if (rule) found.set(rule.by, [...(found.get(rule.by) ?? []), print(name)]);
  }
  return [...found].map(([by, names]) => `${names.join(", ")}: no effect with ${print(by)} ${String(options[by])}.`);
}
