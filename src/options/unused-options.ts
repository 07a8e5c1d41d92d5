// Options that another choice leaves without effect: they are not errors, since a script may change that choice alone.
import { methodOf } from "../methods/index.ts";
import type { MethodStep } from "../methods/method.ts";
import type { RunOptions } from "./run-options.ts";
import { isQuantized, quantizationOptions } from "./run-options.ts";

/** The choice that leaves an option without effect. */
export interface Choice {
  /** An option's name, or "method". */
  readonly by: string;
  readonly value: string;
}

/** Of an option of a method. */
export function unusedInStep({ method, options }: MethodStep, name: string): Choice | undefined {
  const rule = methodOf({ method }).unused.find((one) => one.options.includes(name) && one.isUnused(options));
  return rule && { by: rule.by, value: rule.by === "method" ? method : String(options[rule.by]) };
}

/** Of an option of quantization: nothing is quantized. */
export const unusedInQuantization = (run: RunOptions, name: string): Choice | undefined =>
  name in quantizationOptions.shape && name !== "outputs" && !isQuantized(run)
    ? { by: "method", value: run.methods.map(({ method }) => method).join(",") }
    : undefined;

/** A sentence for each choice: `--mode, --update-ratio: no effect with --method ptq.` `print` spells a name as the user did. */
export function unusedNotes(
  found: readonly (readonly [name: string, choice: Choice])[],
  print: (name: string) => string,
): readonly string[] {
  const names = new Map<string, string[]>();
  for (const [name, { by, value }] of found) {
    const choice = `${print(by)} ${value}`;
    names.set(choice, [...(names.get(choice) ?? []), print(name)]);
  }
  return [...names].map(([choice, list]) => `${list.join(", ")}: no effect with ${choice}.`);
}
