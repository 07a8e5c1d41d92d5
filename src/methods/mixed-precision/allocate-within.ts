// One width for each weight, at the least loss within several budgets at once: an integer program, for a solver that the run brings.
import { FrostbitError } from "../../ir/errors.ts";
import type { IntegerSolver } from "../method.ts";

/** What a weight costs of each budget at one width, in whole numbers, and what quantizing it so loses. */
export interface WidthChoice {
  readonly width: number;
  readonly costs: readonly number[];
  readonly loss: number;
}

type Choices = readonly (readonly WidthChoice[])[];

const variable = (weight: number, choice: number): string => `x${weight}_${choice}`;

/** Σ coefficient · variable, in lines that the format's readers take. */
const sumOf = (choices: Choices, coefficient: (choice: WidthChoice) => number): string =>
  choices.map((list, i) => list.map((choice, k) => ` + ${coefficient(choice)} ${variable(i, k)}`).join("")).join("\n");

/** In CPLEX's LP format. Losses are at most 1000, so that the solver's tolerances are small beside them. */
function programOf(choices: Choices, budgets: readonly number[]): string {
  const largest = Math.max(...choices.flat().map(({ loss }) => Math.abs(loss)), Number.MIN_VALUE);
  const chosen = choices.map((list, i) => ` one${i}: ${list.map((_, k) => variable(i, k)).join(" + ")} = 1`);
  const within = budgets.map((most, b) => ` within${b}:${sumOf(choices, ({ costs }) => costs[b])} <= ${most}`);
  const names = choices.flatMap((list, i) => list.map((_, k) => ` ${variable(i, k)}`));
  const objective = sumOf(choices, ({ loss }) => (1000 * loss) / largest);
  return ["Minimize", ` loss:${objective}`, "Subject To", ...chosen, ...within, "Binary", ...names, "End", ""].join(
    "\n",
  );
}

/** A solver keeps constraints up to a tolerance; what it went beyond is taken off the budget, so often at most. */
const mostTries = 8;

/** The widths of the least total loss whose total costs are within all budgets; `undefined` where nothing is. */
export function allocateWithin(
  choices: Choices,
  budgets: readonly number[],
  solver: IntegerSolver,
): readonly number[] | undefined {
  let most = budgets;
  for (let tries = 0; tries < mostTries; tries++) {
    const { Status, Columns } = solver.solve(programOf(choices, most), { mip_rel_gap: 0, mip_abs_gap: 1e-9 });
    if (Status === "Infeasible") return undefined;
    if (Status !== "Optimal")
      throw new FrostbitError(
        "ENGINE",
        `The integer solver ended with "${Status}"; widths within ${budgets} were asked.`,
      );
    const picked = choices.map((list, i) => {
      const values = list.map((_, k) => Columns[variable(i, k)]?.Primal ?? 0);
      return list[values.indexOf(Math.max(...values))];
    });
    const spent = budgets.map((_, b) => picked.reduce((sum, { costs }) => sum + costs[b], 0));
    if (spent.every((cost, b) => cost <= budgets[b])) return picked.map(({ width }) => width);
    most = most.map((each, b) => each - Math.max(0, spent[b] - budgets[b]));
  }
  return undefined;
}
