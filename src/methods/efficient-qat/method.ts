// EfficientQAT as a step of a run.
import { FrostbitError } from "../../ir/errors.ts";
import { accumulateConflicts } from "../../training/options.ts";
import type { Method } from "../method.ts";
import { bytesOfWalk } from "../reconstruction-method.ts";
import { blockAp } from "./block-ap.ts";
import { type EfficientQatOptions, efficientQatOptions, heldOutOf } from "./options.ts";

export const efficientQatMethod: Method<EfficientQatOptions> = {
  name: "efficient-qat",
  summary: "trains weights, scales and zero points block by block against the float blocks",
  options: efficientQatOptions,
  phase: "rounding",
  grids: [],
  calledBy: [],
  training: "none",
  resumes: () => true,
  heldBytes: ({ float }, options, samples) => {
    const roundingSamples = options.trainingSamples + heldOutOf(options);
    return bytesOfWalk(float, { ...options, roundingSamples }, samples);
  },
  unused: [],
  conflicts: ({ batch, accumulate }) => accumulateConflicts(batch, accumulate),
  check: (_, { train }, options) => {
    const { batch } = options;
    const heldOut = heldOutOf(options);
    if (train.length < heldOut + batch)
      throw new FrostbitError(
        "BAD_DATA",
        `"${train.name}" has ${train.length} training samples; efficient-qat needs at least ${heldOut + batch}: a batch of ${batch} and ${heldOut} to choose by. Give more data, or lower --batch or --validation-samples.`,
      );
  },
  run: async (job, context) => {
    const { graph, units } = await blockAp(job, context);
    return { model: { ...job.model, graph }, findings: { units } };
  },
};
