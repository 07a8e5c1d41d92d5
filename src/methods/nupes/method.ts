// NUPES as a step of a run.
import { z } from "zod";
import { dropOptionsWith, reconstructionOptionsWith, roundingRateOf } from "../../reconstruction/options.ts";
import { jointPhase, reconstructionMethod } from "../reconstruction-method.ts";

const options = z.object({
  ...reconstructionOptionsWith({ variable: "direct", optimizer: "adam", schedule: "cosine", keep: "last", loss: "mse" })
    .shape,
  ...dropOptionsWith({ drop: 0, mixedInput: 1 }).shape,
});

export const nupesMethod = reconstructionMethod({
  name: "nupes",
  summary: "trains weights themselves block by block, by straight-through gradients",
  options,
  grids: ["power", "codebook"],
  phases: (given, { weightGrid }) => [
    jointPhase(weightGrid === "power" ? { ...given, scaleLr: given.scaleLr ?? roundingRateOf(given) } : given),
  ],
  unused: [],
});
