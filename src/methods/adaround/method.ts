// AdaRound as a step of a run.
import { z } from "zod";
import { momentsOptions, rangeOptions } from "../../rounding/options.ts";
import { roundingMethod } from "../rounding-method.ts";
import { adaround } from "./adaround.ts";
import { adaroundOptions } from "./options.ts";

export const adaroundMethod = roundingMethod({
  name: "adaround",
  summary: "learns which weights to round up and which down",
  options: z.object({ ...adaroundOptions.shape, ...rangeOptions.shape, ...momentsOptions.shape }),
  ranges: ({ ranges }) => ranges,
  solver: (options, context) => (problem) => adaround(problem, options, context),
});
