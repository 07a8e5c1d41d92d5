// Options that several commands have.
import { z } from "zod";
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

export const engineOption = z.object({
  engine: z.enum(engineNames).default("auto").describe("What runs the graph."),
});
