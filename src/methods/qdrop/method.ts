// QDrop as a step of a run.
import { z } from "zod";
import { adaroundLearning, dropOptionsWith, reconstructionOptionsWith } from "../../reconstruction/options.ts";
import { jointPhase, reconstructionMethod } from "../reconstruction-method.ts";

const options = z.object({
  ...reconstructionOptionsWith(adaroundLearning).shape,
  ...dropOptionsWith({ drop: 0.5, mixedInput: 0.5 }).shape,
});

export const qdropMethod = reconstructionMethod({
  name: "qdrop",
  summary: "learns roundings and activation steps block by block, activations quantized at random",
  options,
  grids: [],
  phases: (given) => [jointPhase(given)],
  unused: [],
});
