// EfQAT's own options; those of training are in training/options.ts.
import { z } from "zod";

export const efqatOptions = z.object({
  mode: z
    .enum(["cwpl", "cwpn", "lwpn"])
    .default("cwpn")
    .describe(
      "What is frozen together and what it competes with: channels per layer, channels per network, layers per network.",
    ),
  updateRatio: z
    .number()
    .min(0)
    .max(1)
    .default(0.05)
    .describe(
      "Share of the blocks (channels, or layers in lwpn) that train; 0 trains qparams, biases and norms alone.",
    ),
  ratioCounts: z.enum(["blocks", "weights"]).default("blocks").describe("What the update ratio is a share of."),
  refreshEvery: z.int().positive().default(4096).describe("Training samples between two selections."),
  importance: z
    .enum(["magnitude", "random"])
    .default("magnitude")
    .describe("Mean magnitude of a block (EfQAT eq. 6), or random as the control."),
});

export type EfqatOptions = z.infer<typeof efqatOptions>;
