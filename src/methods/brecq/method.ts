// BRECQ as a step of a run.
import { z } from "zod";
import { iterationsOf, reconstructionOptions, stepRateOf } from "../../reconstruction/options.ts";
import { reconstructionMethod, roundingOf } from "../reconstruction-method.ts";

const options = z.object({
  ...reconstructionOptions.shape,
  stepIterations: z
    .int()
    .min(0)
    .optional()
    .describe("Adam steps for each unit's activation steps, after all roundings; by default a quarter of iterations."),
});

export const brecqMethod = reconstructionMethod({
  name: "brecq",
  summary: "learns roundings block by block, then activation steps",
  options,
  phases: (given) => {
    const stepIterations = given.stepIterations ?? Math.ceil(iterationsOf(given) / 4);
    const rounding = {
      rounding: roundingOf(given, iterationsOf(given)),
      inputs: "quantized",
      activations: "float",
      drop: 0,
      power: 2,
      iterations: iterationsOf(given),
    } as const;
    const steps = {
      stepRate: stepRateOf({ ...given, iterations: stepIterations }),
      inputs: "float",
      activations: "quantized",
      drop: 0,
      power: 2.4,
      iterations: stepIterations,
    } as const;
    return stepIterations === 0 ? [rounding] : [rounding, steps];
  },
  unused: [{ options: ["stepLr"], by: "stepIterations", isUnused: ({ stepIterations }) => stepIterations === 0 }],
});
