// GPTQ as a step of a run.
import { z } from "zod";
import { momentsOptions, rangeOptions } from "../../rounding/options.ts";
import { roundingMethod } from "../rounding-method.ts";
import { gptq } from "./gptq.ts";
import { gptqOptions } from "./options.ts";

export const gptqMethod = roundingMethod({
  name: "gptq",
  summary: "rounds weights one input after the other, the rest making up for it",
  options: z.object({ ...gptqOptions.shape, ...rangeOptions.shape, ...momentsOptions.shape }),
  ranges: ({ ranges }) => ranges,
  solver: (options) => (problem, _, multiply) => gptq(problem, options, multiply),
});
