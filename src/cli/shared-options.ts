// Options that several commands have.
import { z } from "zod";
import { engineNames } from "../engines/select.ts";

export const threadsOption = z.object({
  threads: z.int().positive().optional().describe("CPU threads; the engine's own choice otherwise."),
});

export const engineOption = z.object({
  engine: z.enum(engineNames).default("auto").describe("What runs the graph."),
});
