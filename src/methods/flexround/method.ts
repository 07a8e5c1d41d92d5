// FlexRound as a step of a run.
import { z } from "zod";
import { dropOptionsWith, reconstructionOptionsWith } from "../../reconstruction/options.ts";
import { jointPhase, reconstructionMethod } from "../reconstruction-method.ts";

const options = z.object({
  ...reconstructionOptionsWith({
    variable: "divisor",
    optimizer: "adam",
    schedule: "cosine",
    keep: "last",
    loss: "mse",
  }).shape,
  ...dropOptionsWith({ drop: 0, mixedInput: 1 }).shape,
});

export const flexroundMethod = reconstructionMethod({
  name: "flexround",
  summary: "learns what weights are divided by before they are rounded, block by block",
  options,
  grids: [],
  phases: (given) => [jointPhase(given)],
  unused: [],
});
