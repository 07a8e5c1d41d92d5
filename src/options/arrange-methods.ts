// The methods of a run, checked as a list: their order, combinations that are refused, and calibration where the list does not name it.
import { methodOf, methods, rankOf } from "../methods/index.ts";
import type { Conflict, MethodStep } from "../methods/method.ts";
import { ptqMethod } from "../methods/ptq/method.ts";
import type { QuantizeOptions } from "../quantizers/quantize-options.ts";

/** Refuses the list for its method `index`. */
export type Refuse = (index: number, message: string) => never;

/** "ptq" is added where something is quantized and no method puts the quantizers in. */
export function arrangeMethods(given: readonly MethodStep[], refuse: Refuse): readonly MethodStep[] {
  checkOrder(given, refuse);
  const phases = given.map((step) => methodOf(step).phase);
  if (phases.includes("calibration") || phases.includes("float-training")) return given;
  const at = given.filter((step) => rankOf(methodOf(step)) < rankOf(ptqMethod)).length;
  return [...given.slice(0, at), { method: ptqMethod.name, options: {} }, ...given.slice(at)];
}

function checkOrder(given: readonly MethodStep[], refuse: Refuse): void {
  given.forEach((step, i) => {
    const method = methodOf(step);
    const before = given.slice(0, i).map(methodOf);
    const later = before.find((other) => rankOf(other) > rankOf(method) && other.phase !== "float-training");
    if (method.phase === "float-training" && given.length > 1)
      refuse(i, "a float model is trained alone, without other methods.");
    if (later) refuse(i, `it cannot come after ${later.name}.`);
    if (method.phase !== "training" && before.includes(method)) refuse(i, "it is there twice.");
    const alike = before.find(({ phase }) => phase === method.phase);
    if (alike && method.phase === "calibration") refuse(i, "another method calibrates already.");
    if (alike && method.phase === "rounding") refuse(i, `${alike.name} rounds the weights already.`);
  });
}

/** What the options of each method say that makes no sense together; by step. */
export const conflictsOf = (steps: readonly MethodStep[]): readonly (readonly Conflict[])[] =>
  steps.map((step, i) => methodOf(step).conflicts(step.options, steps.slice(0, i)));

/** Methods that work on evenly spaced weights alone, where a run's weights are not. */
export const gridConflicts = (
  { weightGrid }: Pick<QuantizeOptions, "weightGrid">,
  steps: readonly MethodStep[],
): readonly Conflict[] =>
  weightGrid === "uniform"
    ? []
    : steps
        .filter((step) => !methodOf(step).grids.includes(weightGrid))
        .map(({ method }) => ({
          option: "weightGrid",
          message: `is ${weightGrid}, and ${method} works on evenly spaced weights; it goes with ${methods.flatMap(({ name, grids }) => (grids.includes(weightGrid) ? [name] : [])).join(", ")}`,
        }));
