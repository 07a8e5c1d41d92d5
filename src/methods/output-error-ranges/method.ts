// Weight ranges by the error of each layer's output, as a step of a run.
import { nearestIntegers } from "../../rounding/grid.ts";
import { momentsOptions } from "../../rounding/options.ts";
import { roundingMethod } from "../rounding-method.ts";

export const outputErrorRangesMethod = roundingMethod({
  name: "output-error-ranges",
  summary: "gives weights the ranges that change each layer's output least, and rounds to nearest",
  options: momentsOptions,
  ranges: () => "output-error",
  solver:
    () =>
    async ({ quotients, grid }) =>
      nearestIntegers(quotients, grid),
});
