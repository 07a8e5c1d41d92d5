// BRECQ as a step of a run.
import { z } from "zod";
import { adaroundLearning, iterationsOf, reconstructionOptionsWith, stepRateOf } from "../../reconstruction/options.ts";
import { biasRateOf, lossOf, reconstructionMethod, roundingOf } from "../reconstruction-method.ts";

const options = z.object({
  ...reconstructionOptionsWith(adaroundLearning).shape,
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
  grids: [],
  phases: (given) => {
    const stepIterations = given.stepIterations ?? Math.ceil(iterationsOf(given) / 4);
    const rounding = {
      rounding: roundingOf(given),
      ...biasRateOf(given),
      inputs: "quantized",
      activations: "float",
      drop: 0,
      loss: lossOf(given),
      iterations: iterationsOf(given),
    } as const;
    const steps = {
      stepRate: stepRateOf({ ...given, iterations: stepIterations }),
      inputs: "float",
      activations: "quantized",
      drop: 0,
      loss: { kind: "lp", power: 2.4 },
      iterations: stepIterations,
    } as const;
    return stepIterations === 0 ? [rounding] : [rounding, steps];
  },
  unused: [{ options: ["stepLr"], by: "stepIterations", isUnused: ({ stepIterations }) => stepIterations === 0 }],
});
