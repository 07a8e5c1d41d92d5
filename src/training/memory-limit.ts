// Splits batches into as few parts as a limit of memory allows.
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Context } from "../run/context.ts";
import { trainingOptions } from "../run/with-program.ts";
import type { TrainingOptions } from "./options.ts";
import { buildStep, type StepOptions } from "./step.ts";

/**
 * The fewest parts of a batch, at least `accumulate`, with which a step plans no more than `memoryLimit` megabytes.
 * @param optionsOf - the step's options by the number of parts
 * @throws BAD_OPTION where the engine does not plan its memory, or where not even one sample fits
 */
export async function partsThatFit(
  model: Graph,
  { batch, accumulate, memoryLimit }: TrainingOptions,
  optionsOf: (parts: number) => StepOptions,
  context: Context,
): Promise<number> {
  if (memoryLimit === undefined) return accumulate;
  let smallest = Number.POSITIVE_INFINITY;
  for (let parts = accumulate; parts <= batch; parts++) {
    if (batch % parts !== 0) continue;
    smallest = await plannedMegabytes(model, optionsOf(parts), context);
    if (smallest <= memoryLimit) return parts;
  }
  throw new FrostbitError(
    "BAD_OPTION",
    `memoryLimit is ${memoryLimit} MB, but a training step of one sample plans for ${smallest.toFixed(1)} MB with the layers that are to train. Give it more.`,
  );
}

async function plannedMegabytes(model: Graph, options: StepOptions, context: Context): Promise<number> {
  const executable = await context.engine.compile(buildStep(model, options).graph, trainingOptions(context));
  const { memoryBytes } = executable;
  await executable.dispose();
  if (memoryBytes !== undefined) return memoryBytes / 1e6;
  throw new FrostbitError(
    "BAD_OPTION",
    `memoryLimit needs an engine that plans its memory, the native one; the ${context.engine.name} engine does not. Give accumulate the number of parts instead.`,
  );
}
