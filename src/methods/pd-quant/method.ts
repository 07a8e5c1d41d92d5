// PD-Quant as a step of a run.
import { z } from "zod";
import { adaroundLearning, dropOptionsWith, reconstructionOptionsWith } from "../../reconstruction/options.ts";
import { jointPhase, reconstructionMethod } from "../reconstruction-method.ts";

const options = z.object({
  ...reconstructionOptionsWith({ ...adaroundLearning, loss: "prediction" }).shape,
  ...dropOptionsWith({ drop: 0.5, mixedInput: 0.5 }).shape,
});

export const pdQuantMethod = reconstructionMethod({
  name: "pd-quant",
  summary: "learns roundings and activation steps block by block, by what they do to the predictions",
  options,
  grids: [],
  phases: (given) => [jointPhase(given)],
  unused: [],
});
