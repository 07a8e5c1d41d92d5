// Genie-M as a step of a run.
import { z } from "zod";
import { adaroundLearning, dropOptionsWith, reconstructionOptionsWith } from "../../reconstruction/options.ts";
import { jointPhase, reconstructionMethod } from "../reconstruction-method.ts";

const options = z.object({
  ...reconstructionOptionsWith(adaroundLearning).shape,
  ...dropOptionsWith({ drop: 0.5, mixedInput: 0.5 }).shape,
  scaleLr: z
    .number()
    .min(0)
    .default(1e-4)
    .describe("Learning rate of the weights' scales at the start, which falls to 0. 0: they stay."),
});

export const genieMethod = reconstructionMethod({
  name: "genie",
  summary: "learns roundings, scales of weights and activation steps block by block, activations quantized at random",
  options,
  grids: [],
  phases: (given) => [jointPhase(given)],
  unused: [],
});
