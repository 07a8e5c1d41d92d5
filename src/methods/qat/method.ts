// Quantization-aware training: everything trains.

import { trainingOptions } from "../../training/options.ts";
import { everyRole, trainEverything } from "../train-everything.ts";
import { trainingMethod } from "../training-method.ts";

export const qatMethod = trainingMethod({
  name: "qat",
  summary: "trains everything",
  options: trainingOptions,
  phase: "training",
  roles: everyRole,
  plan: trainEverything,
});
