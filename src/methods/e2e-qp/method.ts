// E2E-QP as a step of a run.
import { FrostbitError } from "../../ir/errors.ts";
import { weightsOf } from "../../quantizers/linear-layers.ts";
import { accumulateConflicts } from "../../training/options.ts";
import { classesThatTrain } from "../check-training.ts";
import type { Method } from "../method.ts";
import { e2eQp, stepOf } from "./e2e-qp.ts";
import { type E2eQpOptions, e2eQpOptions } from "./options.ts";
import { storeIntegers } from "./stored-integers.ts";

export const e2eQpMethod: Method<E2eQpOptions> = {
  name: "e2e-qp",
  summary: "trains the scales of weights end to end, their integers fixed",
  options: e2eQpOptions,
  phase: "training",
  grids: [],
  calledBy: [],
  training: {
    roles: ["weight-scale"],
    loss: ({ loss }) => loss,
    scales: () => "any",
    blocks: () => "layers",
    stepGraph: (model, options) => stepOf(model, storeIntegers(model.graph, model.original), options, undefined).graph,
  },
  resumes: () => true,
  unused: [{ options: ["epochs"], by: "steps", isUnused: ({ steps }) => steps !== undefined }],
  conflicts: ({ batch, accumulate }) => accumulateConflicts(batch, accumulate),
  check: ({ graph }, { train }, { loss, batch, trainingSamples }) => {
    classesThatTrain(graph, train, loss);
    if (weightsOf(graph).size === 0)
      throw new FrostbitError("BAD_MODEL", "The model has no layer whose weights are quantized, so no scale to train.");
    const samples = Math.min(train.length, trainingSamples);
    if (samples < batch)
      throw new FrostbitError(
        "BAD_OPTION",
        `batch is ${batch}, and e2e-qp has ${samples} samples to train with. Choose a smaller --batch, or more --training-samples.`,
      );
  },
  heldBytes: () => 0,
  run: e2eQp,
};
