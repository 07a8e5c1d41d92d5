// AdaRound as a step of a run: layer by layer in closed form, or by minibatches, unit by unit.
import { z } from "zod";
import { adaroundLearning, walkOptions } from "../../reconstruction/options.ts";
import { momentsOptions, rangeOptions } from "../../rounding/options.ts";
import { learningRateOf } from "../../rounding/rounding-schedule.ts";
import { unitKinds } from "../../units/units.ts";
import type { Method } from "../method.ts";
import { bytesOfWalk, walkUnits } from "../reconstruction-method.ts";
import { roundingMethod } from "../rounding-method.ts";
import { adaround } from "./adaround.ts";
import { adaroundOptions } from "./options.ts";

const options = z.object({
  ...adaroundOptions.shape,
  unit: z
    .enum(["closed-form", ...unitKinds])
    .default("closed-form")
    .describe(
      "Each layer by itself from second moments (closed-form), or by minibatches what is a layer with its activation, a block, or the network.",
    ),
  ...rangeOptions.shape,
  ...momentsOptions.shape,
  ...walkOptions.shape,
});

/** Of the weights of a layer. */
const all = { by: "magnitude", share: 1 } as const;

type Options = z.infer<typeof options>;

const closedForm: Method<Options> = roundingMethod({
  name: "adaround",
  summary: "learns which weights to round up and which down",
  options,
  ranges: ({ ranges }) => ranges,
  solver: (given) => (problem, context) => adaround(problem, given, context),
});

export const adaroundMethod: Method<Options> = {
  ...closedForm,
  resumes: ({ unit }) => unit !== "closed-form",
  heldBytes: (model, options, samples) => {
    const { unit } = options;
    return unit === "closed-form"
      ? closedForm.heldBytes(model, options, samples)
      : bytesOfWalk(model.float, { ...options, unit }, samples);
  },
  unused: [
    {
      options: ["positions"],
      by: "unit",
      isUnused: ({ unit, ranges }) => unit !== "closed-form" && ranges === "calibrated",
    },
    { options: Object.keys(walkOptions.shape), by: "unit", isUnused: ({ unit }) => unit === "closed-form" },
  ],
  run: async (job, context) => {
    const { unit, stream, ranges, iterations, ...given } = job.options;
    if (unit === "closed-form") return closedForm.run(job, context);
    const phase = {
      rounding: { ...adaroundLearning, ...given, learningRate: learningRateOf({ ...given, iterations }), subset: all },
      inputs: stream === "float" ? "float" : "quantized",
      activations: stream === "quantized" ? "quantized" : "float",
      drop: 0,
      loss: { kind: "mse", power: 2 },
      iterations,
    } as const;
    const walk = {
      ...given,
      name: "adaround",
      unit,
      phases: [phase],
      ranges: ranges === "output-error" ? ([ranges] as const) : [],
      activationRanges: "calibrated",
    } as const;
    return walkUnits(walk, job, context);
  },
};
