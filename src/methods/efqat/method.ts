// EfQAT as a step of a run.
import { z } from "zod";
import { trainingOptions } from "../../training/options.ts";
import { everyRole } from "../train-everything.ts";
import { trainingMethod } from "../training-method.ts";
import { efqat, noteOfIdlePlan } from "./efqat.ts";
import { efqatOptions } from "./options.ts";

export const efqatMethod = trainingMethod({
  name: "efqat",
  summary: "(Efficient QAT) trains scales, biases, norms and the most important share of the weights",
  options: z.object({ ...efqatOptions.shape, ...trainingOptions.shape }),
  phase: "training",
  roles: everyRole.filter((role) => role !== "table"),
  plan: (graph, options, seed) => efqat(graph, { ...options, seed }),
  blocks: ({ mode }) => (mode === "lwpn" ? "layers" : "rows"),
  noteOf: noteOfIdlePlan,
});
