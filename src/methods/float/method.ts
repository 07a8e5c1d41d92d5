// Training of the float model, without quantizers: a baseline of as many steps, or fine-tuning.

import { trainingOptions } from "../../training/options.ts";
import { everyRole, trainEverything } from "../train-everything.ts";
import { trainingMethod } from "../training-method.ts";

export const floatMethod = trainingMethod({
  name: "float",
  summary: "trains the model without quantizers",
  options: trainingOptions,
  phase: "float-training",
  roles: everyRole,
  plan: trainEverything,
  unused: [{ options: ["qparamLr", "qparamTraining"], by: "method", isUnused: () => true }],
});
