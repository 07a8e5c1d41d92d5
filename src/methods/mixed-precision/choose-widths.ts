// Chooses the widths: the best plan of several by what the whole network then loses, uniform ones among them.
import type { Context } from "../../run/context.ts";
import type { IntegerSolver } from "../method.ts";
import { allocate, type WidthOption } from "./allocate.ts";
import { allocateWithin } from "./allocate-within.ts";
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
  /** Of each budget. */
  readonly costs: readonly number[];
  /** Of the outputs, with all weights at their widths. */
  readonly divergence: number;
}

export interface WidthJob extends Measured {
  readonly fixed: Choices["fixed"];
  readonly budgets: readonly Budget[];
  /** Where there are several budgets. */
  readonly solver: IntegerSolver | undefined;
  readonly measures: readonly SensitivityName[];
}

export interface ChosenWidths {
  /** Those that were tried, the one that moves the outputs least first. */
  readonly plans: readonly Plan[];
  readonly found: ReadonlyMap<SensitivityName, Sensitivities>;
}

/** `undefined` where nothing is within all budgets. */
export async function chooseWidths(job: WidthJob, context: Context): Promise<ChosenWidths | undefined> {
  const { choices, budgets, measures } = job;
  const uniform = uniformPlan(choices, budgets);
  const isKept =
    uniform !== undefined ||
    planOf(
      job,
      choices.map(() => new Map()),
    ) !== undefined;
  if (!isKept) return undefined;
  const found = new Map<SensitivityName, Sensitivities>();
  for (const name of measures) found.set(name, await sensitivities[name](job, context));
  const tried = await withDivergence(withFixed(job), context, async (measure) => {
    const plans: Plan[] = uniform ? [await measured(job, measure, "uniform", uniform)] : [];
    for (const [name, losses] of found)
      plans.push(await measured(job, measure, name, planOf(job, losses) ?? uniform ?? []));
    return plans.sort((a, b) => a.divergence - b.divergence);
  });
  return { plans: tried, found };
}

const withFixed = (job: WidthJob): WidthJob => ({
  ...job,
  weights: [...job.choices, ...job.fixed].map(({ weight }) => weight),
});

/** The largest width that all may have. */
function uniformPlan(choices: readonly Choice[], budgets: readonly Budget[]): Widths | undefined {
  const widths = [...new Set(choices.flatMap(({ rounded }) => [...rounded.keys()]))].sort((a, b) => b - a);
  const isWithin = (bits: number, { costOf, available }: Budget): boolean =>
    choices.reduce((sum, choice) => sum + costOf(choice, bits), 0) <= available;
  const width = widths.find((bits) => budgets.every((budget) => isWithin(bits, budget)));
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

/** How often a plan that is beyond a budget is made again within less. */
const attempts = 12;

/** `undefined` where nothing is within all budgets. */
function planOf(job: WidthJob, losses: Sensitivities): Widths | undefined {
  let budgets = job.budgets;
  for (let attempt = 0; attempt < attempts; attempt++) {
    const widths = solved({ ...job, budgets }, losses);
    if (!widths) return undefined;
    const excess = budgets.map(({ excessOf }) => excessOf?.(widths) ?? 0);
    if (excess.every((bits) => bits === 0)) return widths;
    budgets = budgets.map((budget, i) => ({ ...budget, available: budget.available - excess[i] }));
  }
  return undefined;
}

/** The dynamic program within one budget, an integer program within several. */
function solved({ choices, budgets, solver }: WidthJob, losses: Sensitivities): Widths | undefined {
  const [budget, ...others] = budgets;
  const options = optionsOf(choices, losses, budget);
  if (others.length === 0 || !solver) return allocate(options, budget.available)?.widths;
  const within = options.map((list, i) =>
    list.map(({ width, cost, loss }) => ({
      width,
      loss,
      costs: [cost, ...others.map(({ costOf }) => costOf(choices[i], width))],
    })),
  );
  return allocateWithin(
    within,
    budgets.map(({ available }) => available),
    solver,
  );
}

async function measured(
  { choices, fixed, budgets }: WidthJob,
  measure: Divergence,
  by: Plan["by"],
  widths: Widths,
): Promise<Plan> {
  const rounded = new Map([
    ...fixed.map(({ weight, rounded: value }) => [weight, value] as const),
    ...choices.map(({ weight, rounded: at }, i) => [weight, at.get(widths[i])!] as const),
  ]);
  const costs = budgets.map(({ costOf }) => choices.reduce((total, choice, i) => total + costOf(choice, widths[i]), 0));
  return { by, widths, costs, divergence: await measure(rounded) };
}
