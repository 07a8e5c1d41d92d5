// PD-Quant as a step of a run.
import { z } from "zod";
import { FrostbitError } from "../../ir/errors.ts";
import { runningNormalizations } from "../../passes/train-batch-norm.ts";
import type { Correction } from "../../reconstruction/correct-inputs.ts";
import { adaroundLearning, dropOptionsWith, reconstructionOptionsWith } from "../../reconstruction/options.ts";
import type { Method } from "../method.ts";
import { jointPhase, reconstructionMethod } from "../reconstruction-method.ts";

const options = z.object({
  ...reconstructionOptionsWith({ ...adaroundLearning, loss: "prediction" }).shape,
  ...dropOptionsWith({ drop: 0.5, mixedInput: 0.5 }).shape,
  correctionIterations: z
    .int()
    .min(0)
    .default(0)
    .describe(
      "Adam steps by which the float inputs of each unit are moved before it trains, until what enters its batch normalizations has, in each sample, the mean and the deviation that they remember; the authors take 500. 0: they stay.",
    ),
  correctionLr: z.number().positive().default(1e-3).describe("The learning rate of these steps at the start."),
  correctionFreedom: z
    .number()
    .positive()
    .default(0.02)
    .describe("What the squared distance from where these inputs were is divided by: less keeps them nearer."),
});

type Options = z.infer<typeof options>;

const correctionOf = (given: Options): Correction | undefined =>
  given.correctionIterations === 0
    ? undefined
    : { iterations: given.correctionIterations, rate: given.correctionLr, freedom: given.correctionFreedom };

const withoutCheck: Method<Options> = reconstructionMethod({
  name: "pd-quant",
  summary: "learns roundings and activation steps block by block, by what they do to the predictions",
  options,
  grids: [],
  phases: (given) => [{ ...jointPhase(given), correction: correctionOf(given) }],
  unused: [
    {
      options: ["correctionLr", "correctionFreedom"],
      by: "correctionIterations",
      isUnused: ({ correctionIterations }) => correctionIterations === 0,
    },
  ],
});

export const pdQuantMethod: Method<Options> = {
  ...withoutCheck,
  check: (model, data, given) => {
    withoutCheck.check(model, data, given);
    if (correctionOf(given) && runningNormalizations(model.float).length === 0)
      throw new FrostbitError(
        "BAD_MODEL",
        `correctionIterations is ${given.correctionIterations}, and the model has no batch normalization whose statistics say what its inputs were like. Leave correctionIterations out.`,
      );
  },
  // One unit's inputs and outputs are there twice.
  heldBytes: (model, given, samples) => (correctionOf(given) ? 1.5 : 1) * withoutCheck.heldBytes(model, given, samples),
};
