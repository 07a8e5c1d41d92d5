// QDrop as a step of a run.
import { z } from "zod";
import { iterationsOf, reconstructionOptions, stepRateOf } from "../../reconstruction/options.ts";
import { reconstructionMethod, roundingOf } from "../reconstruction-method.ts";

const options = z.object({
  ...reconstructionOptions.shape,
  drop: z
    .number()
    .min(0)
    .max(0.99)
    .default(0.5)
    .describe("Probability with which each element of an activation stays as it was, not quantized, in an iteration."),
  mixedInput: z
    .number()
    .min(0.01)
    .max(1)
    .default(0.5)
    .describe(
      "Probability with which each element of a unit's input is what the quantized units before it give, and not what the float ones do.",
    ),
});

export const qdropMethod = reconstructionMethod({
  name: "qdrop",
  summary: "learns roundings and activation steps block by block, activations quantized at random",
  options,
  phases: (given) => [
    {
      rounding: roundingOf(given, iterationsOf(given)),
      stepRate: stepRateOf(given),
      inputs: given.mixedInput === 1 ? "quantized" : { mixed: given.mixedInput },
      activations: "quantized",
      drop: given.drop,
      power: 2,
      iterations: iterationsOf(given),
    },
  ],
  unused: [],
});
