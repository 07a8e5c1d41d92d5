// The kinds of variables that weights learn by.
import { directWeight } from "./direct-weight.ts";
import { divisorWeight } from "./divisor-weight.ts";
import { levelWeight } from "./level-weight.ts";
import { offsetWeight } from "./offset-weight.ts";
import { sigmoidWeight } from "./sigmoid-weight.ts";
import type { LearnedWeight, WeightVariable } from "./weight-variable.ts";

export const variableNames = ["sigmoid", "offset", "divisor", "direct"] as const;
export type VariableName = (typeof variableNames)[number];

export const weightVariables: Readonly<Record<VariableName, WeightVariable>> = {
  sigmoid: sigmoidWeight,
  offset: offsetWeight,
  divisor: divisorWeight,
  direct: directWeight,
};

/** What a weight learns by; one whose grid has levels, by its own. */
export const variableOf = (name: VariableName, { quantizer }: LearnedWeight): WeightVariable =>
  quantizer.levels === "" ? weightVariables[name] : levelWeight;
