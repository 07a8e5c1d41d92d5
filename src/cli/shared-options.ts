// Options that several commands have.
import { z } from "zod";
import { precisions, tunings } from "../engines/engine.ts";
import { engineNames } from "../engines/select.ts";

export const threadsOption = z.object({
  threads: z.int().positive().optional().describe("CPU threads; the engine's own choice otherwise."),
});

export const memoryOption = z.object({
  maxMemory: z
    .int()
    .positive()
    .optional()
    .describe("MB of memory that the process may take: more is refused before the work, by an estimate, and ends it."),
});

export const tuneOption = z.object({
  tune: z
    .enum(tunings)
    .default("fast")
    .describe(
      "How the native engine chooses kernels. fast: those that are the fastest on this machine, measured once for milliseconds each and remembered; thorough: measured for longer; off: by fixed rules, the same on all machines with the same instructions.",
    ),
});

/** How a run is computed. */
export const computeOptions = z.object({
  engine: z.enum(engineNames).default("auto").describe("What computes calibration and training."),
  precision: z
    .enum(["auto", ...precisions])
    .default("auto")
    .describe("How training steps are computed. mixed: integers and bfloat16, where engine and processor have it."),
  threads: z.int().positive().optional().describe("CPU threads; by default as many as there are cores."),
  ...tuneOption.shape,
});

export const rankOption = z.object({
  rankTimeout: z
    .number()
    .positive()
    .default(600)
    .describe("Seconds that processes started by mpirun or srun wait for each other before those that hang are named."),
});

export const engineOption = z.object({
  engine: z.enum(engineNames).default("auto").describe("What runs the graph."),
});

export const queueOption = z.object({
  queue: z
    .string()
    .describe(
      "The server of a queue of units, which workers serve: redis://HOST (or Valkey) or postgres://HOST/DATABASE.",
    ),
});
