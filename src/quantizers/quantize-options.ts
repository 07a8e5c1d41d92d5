// The one entry of every recipe: bits, placement, ranges, and the exceptions by layer.
import { z } from "zod";
import { observerNames } from "./observers/observer.ts";

/** What weights may be rounded to. */
const weightGrids = ["uniform", "power", "codebook"] as const;
export type LevelGrid = Exclude<(typeof weightGrids)[number], "uniform">;

const bits = z.int().min(2).max(8);

/** How many inputs may share a scale. */
export const groupSizes = [16, 32, 64, 128, 256, "whole"] as const;

export const quantizeOptions = z.object({
  weights: bits
    .default(8)
    .describe(
      "Bits of the weights: symmetric in the restricted range, with zero points at 2 and 3 bits, beside activations in float, or where asymmetricWeights says so.",
    ),
  weightGrid: z
    .enum(weightGrids)
    .default("uniform")
    .describe(
      "What weights are rounded to: evenly spaced values (uniform), powers of evenly spaced ones with an exponent for each layer (power), or values chosen for each layer by k-means, each weight counted by the mean square of what it multiplies (codebook). Files hold the last two as indices of a table, and runtimes compute with floats: smaller files, no speed.",
    ),
  groupSize: z
    .literal(groupSizes)
    .default("whole")
    .describe(
      "Input channels of a weight that share a scale, for each output channel: whole is one scale per output channel. Groups keep accuracy at 4 bits and fewer, and cost file size and integer kernels.",
    ),
  asymmetricWeights: z
    .boolean()
    .optional()
    .describe(
      "Whether weights have zero points, one for each scale, so that the integers span their range exactly; by default at 2 and 3 bits, where it is worth most, and where activations stay in float.",
    ),
  activations: z
    .union([bits, z.literal("float")])
    .default(8)
    .describe(
      "Bits of the activations: one scale per tensor, asymmetric by default; float: weights alone are quantized, as for language models.",
    ),
  symmetricActivations: z
    .boolean()
    .default(false)
    .describe("Whether activations are signed with zero point 0, as some runtimes want them."),
  placement: z
    .enum(["inputs", "runtime"])
    .optional()
    .describe(
      "Which values have quantizers: the input and weight of each linear layer (inputs), or also what ONNX Runtime's integer kernels need between them (runtime); by default runtime where activations have 8 bits and integer kernels take the weights, inputs elsewhere, for accuracy.",
    ),
  observer: z
    .enum(observerNames)
    .default("min-max")
    .describe(
      "How a range is chosen from what was seen: all of it (min-max), an average over batches (moving-average), all but 0.01 % (percentile), least squared error (mse), least |error|^2.4 (lp) or least divergence (entropy). Weights: mse, lp or max |w|.",
    ),
  calibrationSamples: z.int().min(1).default(512).describe("Training samples that the ranges are taken from."),
  firstLast: bits
    .optional()
    .describe(
      "Bits of the first and the last layers, of their weights and of their inputs: those with no quantized layer before them, and with none behind them. Papers keep these at 8; what layers says of them comes first.",
    ),
  layers: z
    .record(
      z.string(),
      z.union([
        bits,
        z.literal("float"),
        z.object({ weights: bits.optional(), activations: z.union([bits, z.literal("float")]).optional() }),
      ]),
    )
    .default({})
    .describe(
      'Exceptions by layer name (`*` matches any characters): bits of its weights and its input, or "float". With activations: "float" the file has integers of the weights, and the layer computes with floats.',
    ),
});

export type QuantizeOptions = z.infer<typeof quantizeOptions>;

/** The bits of a layer's weights and of its input. */
export interface LayerBits {
  readonly weights: number;
  readonly activations: number | "float";
}

/** The bits of one layer; undefined: the layer stays in float. Of patterns that match, what later ones say wins. */
export function bitsOfLayer(options: QuantizeOptions, layer: string): LayerBits | undefined {
  const { weights, activations } = options;
  let result: LayerBits | undefined = { weights, activations };
  for (const [pattern, choice] of Object.entries(options.layers)) {
    if (!matchesPattern(pattern, layer)) continue;
    if (choice === "float") result = undefined;
    else if (typeof choice === "number")
      result = { weights: choice, activations: activations === "float" ? "float" : choice };
    else
      result = {
        weights: choice.weights ?? result?.weights ?? weights,
        activations: choice.activations ?? result?.activations ?? activations,
      };
  }
  return result;
}

/** Fewer bits than 8 between layers cost accuracy, and no integer kernel takes weights in groups or on other grids. */
export const placementOf = ({
  placement,
  activations,
  groupSize,
  weightGrid,
}: Pick<QuantizeOptions, "placement" | "activations" | "groupSize" | "weightGrid">): "inputs" | "runtime" =>
  placement ?? (activations === 8 && groupSize === "whole" && weightGrid === "uniform" ? "runtime" : "inputs");

/** Whether weights of so many bits have zero points: no integer kernel wants them without where activations are floats. */
export const isAsymmetric = ({ asymmetricWeights, activations }: QuantizeOptions, bits: number): boolean =>
  asymmetricWeights ?? (bits <= 3 || activations === "float");

export function matchesPattern(pattern: string, name: string): boolean {
  const source = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${source.join(".*")}$`).test(name);
}
