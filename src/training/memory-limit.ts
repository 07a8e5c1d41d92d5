// Splits batches into as few micro-batches as a limit of memory allows.
import { FrostbitError } from "../ir/errors.ts";
import type { Context } from "../run/context.ts";
import type { TrainingOptions } from "./options.ts";
import { type Step, stepOptions } from "./step.ts";

/**
 * The fewest micro-batches of a batch, at least `accumulate`, with which a step plans no more than `memoryLimit` megabytes.
 * @param stepOf - the step by the number of micro-batches
 * @throws BAD_OPTION where the engine does not plan its memory, or where not even one sample fits
 */
export async function microBatchesThatFit(
  { batch, accumulate, memoryLimit }: TrainingOptions,
  stepOf: (microBatches: number) => Step,
  context: Context,
): Promise<number> {
  if (memoryLimit === undefined) return accumulate;
  let smallest = Number.POSITIVE_INFINITY;
  for (let microBatches = accumulate; microBatches <= batch; microBatches++) {
    if (batch % microBatches !== 0) continue;
    smallest = await plannedMegabytes(stepOf(microBatches), context);
    if (smallest <= memoryLimit) return microBatches;
  }
  throw new FrostbitError(
    "BAD_OPTION",
    `memoryLimit is ${memoryLimit} MB, but a training step of one sample plans for ${smallest.toFixed(1)} MB with the layers that are to train. Give it more.`,
  );
}

async function plannedMegabytes(step: Step, context: Context): Promise<number> {
  const executable = await context.engine.compile(step.graph, stepOptions(step, context));
  const { memoryBytes } = executable;
  await executable.dispose();
  if (memoryBytes !== undefined) return memoryBytes / 1e6;
  throw new FrostbitError(
    "BAD_OPTION",
    `memoryLimit needs an engine that plans its memory, the native one; the ${context.engine.name} engine does not. Give accumulate the number of micro-batches instead.`,
  );
}
