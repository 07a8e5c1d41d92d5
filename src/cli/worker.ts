// frostbit worker: computes the units of sweeps that a queue holds, until it is stopped.
import type { Command } from "commander";
import { z } from "zod";
import { FrostbitError } from "../ir/errors.ts";
import { serveUnits } from "../node/sweep/unit-queue.ts";
import { createCommand, type Session, type Values } from "./command.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { queueOption, threadsOption } from "./shared-options.ts";
import { unitChild } from "./unit-child.ts";

export const workerCommandOptions = z.object({
  ...queueOption.shape,
  ...threadsOption.shape,
  lockTimeout: z
    .number()
    .min(1)
    .default(10)
    .describe(
      "Seconds without a renewed lock after which this worker is taken for dead, and another one computes its unit.",
    ),
});

export function workerCommand(): Command {
  const command = createCommand(
    "worker",
    "Compute the units of sweeps that a queue holds, one at a time, until Ctrl-C.",
    run,
    { keepsStep: () => true },
  );
  return addSchemaOptions(command, workerCommandOptions);
}

async function run(_: readonly string[], typed: Values, session: Session): Promise<void> {
  const { queue: url, threads, lockTimeout } = parseSchemaOptions(workerCommandOptions, typed);
  const { note, progress, interrupt } = session;
  const child = unitChild(threads);
  let done = 0;
  // Ctrl-C gives the unit in hand back.
  interrupt.arm(true);
  try {
    await serveUnits({
      url,
      lockMs: lockTimeout * 1000,
      signal: interrupt.signal,
      note,
      compute: child.compute,
      optionsFor: ({ name }) => ({
        signal: interrupt.signal,
        onProgress: (now) => progress.show({ ...now, phase: `${name}: ${now.phase}` }),
        onNote: (text) => note(`${name}: ${text}`),
      }),
      onUnit: ({ name }, error) => {
        done += error ? 0 : 1;
        note(error ? `${name} failed: ${error.message}` : `${name}: done (${done} by this worker)`);
      },
    });
  } finally {
    child.close();
  }
  throw new FrostbitError("ABORTED", `Stopped after ${done} units; the queue has the others.`);
}
