// What mixed precision can be told.
import { z } from "zod";
import { type SensitivityName, sensitivities } from "./sensitivities.ts";

const sensitivityNames = Object.keys(sensitivities) as [SensitivityName, ...SensitivityName[]];

const units: Readonly<Record<string, number>> = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9 };
const sizePattern = /^(?=.*[1-9])(\d+(?:\.\d+)?) ?(B|kB|MB|GB|x)$/;

/** "120kB" in bytes; "0.2x" as a part of the float model's. */
export function bytesOf(size: string | number, floatBytes: () => number): number {
  if (typeof size === "number") return size;
  const [, amount, unit] = sizePattern.exec(size) ?? [];
  return unit === "x" ? Math.floor(Number(amount) * floatBytes()) : Number(amount) * units[unit];
}

const latencyPattern = /^(?=.*[1-9])(\d+(?:\.\d+)?) ?(ms|x)$/;

/** "1.5ms" in milliseconds; "0.8x" as a part of the float model's time. */
export function latencyOf(latency: string | number, floatMs: number): number {
  if (typeof latency === "number") return latency;
  const [, amount, unit] = latencyPattern.exec(latency) ?? [];
  return unit === "x" ? Number(amount) * floatMs : Number(amount);
}

const operationsPattern = /^(?=.*[1-9])(\d+(?:\.\d+)?) ?(M|G|T)$/;
const thousands: Readonly<Record<string, number>> = { M: 1e6, G: 1e9, T: 1e12 };

/** "72G" as a number. */
export function operationsOf(operations: string | number): number {
  if (typeof operations === "number") return operations;
  const [, amount, unit] = operationsPattern.exec(operations) ?? [];
  return Number(amount) * thousands[unit];
}

export const mixedPrecisionOptions = z.object({
  maxBits: z
    .number()
    .min(2)
    .max(8)
    .optional()
    .describe("Bits of a weight, at most, as the mean over all weights that are quantized: 3.5."),
  maxSize: z
    .union([
      z.int().positive(),
      z.string().regex(sizePattern, 'a size such as "120kB" or "1.5 MB", or "0.2x" of the float model'),
    ])
    .optional()
    .describe(
      'Size of the written model, at most: "120kB", "1.5MB", bytes, or "0.2x" of the float model written alike.',
    ),
  maxLatency: z
    .union([
      z.number().positive(),
      z.string().regex(latencyPattern, 'a time such as "1.5ms", or "0.8x" of the float model'),
    ])
    .optional()
    .describe(
      'Time of the written model for one sample in ONNX Runtime on this machine, at most: "1.5ms", milliseconds, or "0.8x" of the float model\'s. Below 8 bits layers become smaller, not faster.',
    ),
  maxBops: z
    .union([z.number().positive(), z.string().regex(operationsPattern, 'a number such as "72G" or "1.5 T"')])
    .optional()
    .describe(
      'Bit operations of one sample, at most: multiply-adds times the bits of the weight times those of the input, 32 where that stays a float, summed over the layers that are quantized: "72G", "900M".',
    ),
  widths: z
    .array(z.int().min(2).max(8))
    .min(1)
    .default([2, 3, 4, 5, 6, 8])
    .describe("Bits that a layer's weight may have."),
  sensitivity: z
    .enum(["auto", ...sensitivityNames])
    .default("auto")
    .describe(
      "What a layer's quantization is said to lose: divergence of the class probabilities, measured layer by layer at each width (divergence); by Fisher's information (fisher), the gradient where all is quantized (taylor), the Hessian's trace (hessian), the layer's own output (output) or integrated gradients (integrated). auto: divergence, or fisher where measuring takes long, and taylor below 3 bits.",
    ),
  sensitivitySamples: z
    .int()
    .min(1)
    .default(256)
    .describe("Training samples that widths are chosen on, without labels."),
});

export type MixedPrecisionOptions = z.output<typeof mixedPrecisionOptions>;
