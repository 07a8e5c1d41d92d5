// frostbit unit: one unit of a sweep, by its number, for schedulers that start an array of jobs.
import type { Command } from "commander";
import { z } from "zod";
import { FrostbitError } from "../ir/errors.ts";
import { tryUnit } from "../node/sweep/run-in-turn.ts";
import { createCommand, type Session, type Values } from "./command.ts";
import { exitCodes } from "./errors.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { threadsOption } from "./shared-options.ts";
import { askedSweep, plannedSweep, sweepModelOption, sweepSourceOptions } from "./sweep-plan.ts";
import { unitChild } from "./unit-child.ts";

export const unitCommandOptions = z.object({
  index: z.int().min(0).describe('The number of the unit, from 0; "frostbit sweep RECIPE --list" numbers them.'),
  ...sweepModelOption.shape,
  ...sweepSourceOptions.shape,
  ...threadsOption.shape,
});

export function unitCommand(): Command {
  const command = createCommand(
    "unit",
    "Compute one unit of a sweep by its number: a task of a Slurm array or of an Indexed Job of Kubernetes.",
    run,
    { keepsStep: (phase) => phase.startsWith("train") },
  ).argument("<recipe>", "YAML file: a recipe with a section sweep");
  return addSchemaOptions(command, unitCommandOptions);
}

async function run([recipe]: readonly string[], typed: Values, session: Session): Promise<void> {
  const { index, threads } = parseSchemaOptions(unitCommandOptions, typed);
  const asked = await askedSweep(recipe, typed);
  const count = asked.models.length * asked.plan.cells.length;
  if (index >= count)
    throw new FrostbitError(
      "BAD_OPTION",
      `--index is ${index}; expected 0 to ${count - 1}: ${recipe} has ${count} units.`,
    );
  const { units, store } = await plannedSweep(asked, session.note, index);
  const [{ task, id }] = units;
  const child = unitChild(threads);
  try {
    const result = await tryUnit(task, store, child.compute, {
      signal: session.interrupt.signal,
      onProgress: session.progress.show,
      onNote: session.note,
    });
    if ("error" in result) {
      session.print({ index, id, error: result.error }, [`${task.name} failed: ${result.error.message}`]);
      process.exitCode = exitCodes.user;
    } else
      session.print({ index, id, folder: result.folder }, [
        `${task.name} is done: ${result.folder} in "${asked.out}".`,
      ]);
  } finally {
    child.close();
  }
}
