// Chooses the widths: the best plan of several by what the whole network then loses, uniform ones among them.
import type { Context } from "../../run/context.ts";
import { allocate, type WidthOption } from "./allocate.ts";
import type { Budget, Widths } from "./budget.ts";
import type { Choice, Choices } from "./choices.ts";
import type { Measured, Sensitivities } from "./measured.ts";
import { type Divergence, withDivergence } from "./replace-weights.ts";
import { type SensitivityName, sensitivities } from "./sensitivities.ts";

export interface Plan {
  /** What chose it: a sensitivity, or "uniform". */
  readonly by: SensitivityName | "uniform";
  /** By weight, in the order of the choices. */
  readonly widths: Widths;
  readonly cost: number;
  /** Of the outputs, with all weights at their widths. */
  readonly divergence: number;
}

export interface WidthJob extends Measured {
  readonly fixed: Choices["fixed"];
  readonly budget: Budget;
  readonly measures: readonly SensitivityName[];
}

export interface ChosenWidths {
  /** Those that were tried, the one that moves the outputs least first. */
  readonly plans: readonly Plan[];
  readonly found: ReadonlyMap<SensitivityName, Sensitivities>;
}

/** `undefined` where nothing is within the budget. */
export async function chooseWidths(job: WidthJob, context: Context): Promise<ChosenWidths | undefined> {
  const { choices, budget, measures } = job;
  const uniform = uniformPlan(choices, budget);
  if (uniform === undefined) return undefined;
  const found = new Map<SensitivityName, Sensitivities>();
  for (const name of measures) found.set(name, await sensitivities[name](job, context));
  const tried = await withDivergence(withFixed(job), context, async (measure) => {
    const plans: Plan[] = [await measured(job, measure, "uniform", uniform)];
    for (const [name, losses] of found) plans.push(await measured(job, measure, name, planOf(choices, losses, budget)));
    return plans.sort((a, b) => a.divergence - b.divergence);
  });
  return { plans: tried, found };
}

const withFixed = (job: WidthJob): WidthJob => ({
  ...job,
  weights: [...job.choices, ...job.fixed].map(({ weight }) => weight),
});

/** The largest width that all may have. */
function uniformPlan(choices: readonly Choice[], { costOf, available }: Budget): Widths | undefined {
  const widths = [...new Set(choices.flatMap(({ rounded }) => [...rounded.keys()]))].sort((a, b) => b - a);
  const width = widths.find((bits) => choices.reduce((sum, choice) => sum + costOf(choice, bits), 0) <= available);
  return width === undefined ? undefined : choices.map(() => width);
}

export const optionsOf = (
  choices: readonly Choice[],
  losses: Sensitivities,
  { costOf }: Budget,
): readonly (readonly WidthOption[])[] =>
  choices.map((choice, i) =>
    [...choice.rounded.keys()].map((width) => ({
      width,
      cost: costOf(choice, width),
      loss: losses[i].get(width) ?? 0,
    })),
  );

const planOf = (choices: readonly Choice[], losses: Sensitivities, budget: Budget): Widths =>
  allocate(optionsOf(choices, losses, budget), budget.available)?.widths ?? [];

async function measured(
  { choices, fixed, budget }: WidthJob,
  measure: Divergence,
  by: Plan["by"],
  widths: Widths,
): Promise<Plan> {
  const rounded = new Map([
    ...fixed.map(({ weight, rounded: value }) => [weight, value] as const),
    ...choices.map(({ weight, rounded: at }, i) => [weight, at.get(widths[i])!] as const),
  ]);
  const cost = choices.reduce((sum, choice, i) => sum + budget.costOf(choice, widths[i]), 0);
  return { by, widths, cost, divergence: await measure(rounded) };
}
