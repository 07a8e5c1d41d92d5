// AutoRound as a step of a run.
import { z } from "zod";
import { dropOptionsWith, reconstructionOptionsWith } from "../../reconstruction/options.ts";
import { jointPhase, reconstructionMethod } from "../reconstruction-method.ts";

const options = z.object({
  ...reconstructionOptionsWith({
    variable: "offset",
    optimizer: "sign-sgd",
    schedule: "linear",
    keep: "best",
    loss: "mse",
  }).shape,
  ...dropOptionsWith({ drop: 0, mixedInput: 1 }).shape,
});

export const autoroundMethod = reconstructionMethod({
  name: "autoround",
  summary: "learns offsets and ranges of weights block by block, by the signs of gradients",
  options,
  grids: [],
  phases: (given) => [jointPhase(given)],
  unused: [],
});
