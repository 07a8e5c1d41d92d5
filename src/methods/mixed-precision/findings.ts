// What mixed precision chose from, for the report.
import type { WidthFindings } from "../method.ts";
import { frontOf } from "./allocate.ts";
import type { Budget } from "./budget.ts";
import type { Choice, Choices } from "./choices.ts";
import { type ChosenWidths, optionsOf } from "./choose-widths.ts";

/** Budgets between the narrowest and the widest plan. */
const frontPoints = 40;

export function findingsOf({ free, fixed }: Choices, budget: Budget, { plans, found }: ChosenWidths): WidthFindings {
  const [best] = plans;
  const [[, losses] = ["", []]] = found;
  const options = optionsOf(free, losses, budget);
  return {
    layers: [
      ...free.map(({ layers, count }, i) => ({ names: layers, weights: count, isGiven: false, bits: best.widths[i] })),
      ...fixed.map(({ layers, count, bits }) => ({ names: layers, weights: count, isGiven: true, bits })),
    ],
    budget: { unit: budget.unit, most: budget.amountOf(budget.available) },
    sensitivities: [...found].map(([by, each]) => ({ by, losses: each })),
    plans: plans.map(({ by, widths, costs, divergence }) => ({
      by,
      bits: widths,
      amount: budget.amountOf(costs[0]),
      divergence,
    })),
    front: frontOf(options, frontPoints).map(({ cost, loss }) => ({ amount: budget.amountOf(cost), loss })),
    uniform: widthsOf(free).map((bits) => {
      const chosen = options.map((list) => list.find(({ width }) => width === bits));
      const sum = (of: "cost" | "loss"): number => chosen.reduce((total, option) => total + (option?.[of] ?? 0), 0);
      return { bits, amount: budget.amountOf(sum("cost")), loss: sum("loss") };
    }),
  };
}

const widthsOf = (free: readonly Choice[]): readonly number[] =>
  [...new Set(free.flatMap(({ rounded }) => [...rounded.keys()]))].sort((a, b) => a - b);
