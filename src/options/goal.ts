// What is wanted of a run, where the methods are left to the ladder.
import { z } from "zod";
import { mixedPrecisionOptions } from "../methods/mixed-precision/options.ts";

const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };
const durationPattern = /^(?=.*[1-9])(\d+(?:\.\d+)?) ?(s|m|h)$/;

/** "10m" in seconds. */
export function secondsOf(duration: string): number {
  const [, amount, unit] = durationPattern.exec(duration) ?? [];
  return Number(amount) * seconds[unit];
}

const { maxBits, maxSize, maxLatency, maxBops } = mixedPrecisionOptions.shape;

/** Of a file, and of the weights in it. */
export const budgetOptions = z.object({ maxBits, maxSize, maxLatency, maxBops });

/** What a recipe has under `goal`. */
export const goalOptions = z.object({
  maxDrop: z
    .number()
    .min(0)
    .max(100)
    .optional()
    .describe(
      "How much may be lost against the float model: points of accuracy or of mean IoU; of measured values, per cent of the RMSE; without labels, noise in per cent of the outputs' energy (1 is 20 dB). Given, the weights become as narrow as it allows; else 8 bits are kept where they lose less than 0.5.",
    ),
  budget: z
    .string()
    .regex(durationPattern, 'a time such as "90s", "10m" or "2h"')
    .optional()
    .describe('Time after which nothing further is tried: "90s", "10m", "2h". What would take longer is left out.'),
  ...budgetOptions.shape,
});

/** A goal, and the options of quantization that were given with it: no method of the ladder changes them. */
export interface Goal extends z.output<typeof goalOptions> {
  readonly fixed: readonly string[];
}

/** What the file may take, by option: those that were given. */
export const budgetsOf = ({ maxBits, maxSize, maxLatency, maxBops }: Goal): readonly (readonly [string, unknown])[] =>
  Object.entries({ maxBits, maxSize, maxLatency, maxBops }).filter(([, value]) => value !== undefined);
