// What there is to spend on weights: bits in the mean, or bytes of the file that is written.
import { FrostbitError } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { insertQuantizers } from "../../quantizers/insert.ts";
import { weightQparams } from "../../quantizers/observe-weights.ts";
import { asymmetricQparams, signedQparams } from "../../quantizers/qparams.ts";
import type { QuantizeOptions } from "../../quantizers/quantize-options.ts";
import { findSites, withoutQuantized } from "../../quantizers/sites.ts";
import { constantOf } from "../../rounding/grid.ts";
import type { WidthFindings, WrittenFile } from "../method.ts";
import type { Choice, Choices } from "./choices.ts";
import { bytesOf, type MixedPrecisionOptions } from "./options.ts";

/** What a weight costs at a width, and how much there is to spend. Costs are whole numbers. */
export interface Budget {
  readonly costOf: (choice: Choice, width: number) => number;
  readonly available: number;
  /** What a cost comes to, for people. */
  readonly amountOf: (cost: number) => number;
  readonly unit: WidthFindings["budget"]["unit"];
}

/** By weight, in the order of `choices.free`. */
export type Widths = readonly number[];

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Mean over all weights that are quantized. */
export function meanBits({ free, fixed }: Choices, widths: Widths): number {
  const bits = sum(free.map(({ count }, i) => count * widths[i])) + sum(fixed.map(({ count, bits }) => count * bits));
  return bits / sum([...free, ...fixed].map(({ count }) => count));
}

export function bitBudget({ free, fixed }: Choices, maxBits: number): Budget {
  const all = sum([...free, ...fixed].map(({ count }) => count));
  const given = sum(fixed.map(({ count, bits }) => count * bits));
  return {
    costOf: ({ count }, width) => count * width,
    available: Math.floor(maxBits * all - given),
    amountOf: (cost) => (cost + given) / all,
    unit: "bits",
  };
}

/** Bytes of the file in which the weights have these bits. */
export type FileBytes = (widths: Widths) => number;

/** What is written at the same bits for all says how many bits a width takes in the file. */
export function sizeBudget({ free }: Choices, widths: Widths, bytes: number, fileBytes: FileBytes): Budget {
  const all = sum(free.map(({ count }) => count));
  const sizes = new Map(widths.map((width) => [width, fileBytes(free.map(() => width))]));
  const [least, leastWidth] = [...sizes].reduce<[number, number]>(
    (best, [width, size]) => (size < best[0] ? [size, width] : best),
    [Number.POSITIVE_INFINITY, 0],
  );
  const bitsAt = (width: number): number => Math.round((8 * ((sizes.get(width) ?? least) - least)) / all);
  const costOf: Budget["costOf"] = ({ count }, width) => count * (bitsAt(width) + 1);
  const spent = sum(free.map((choice) => costOf(choice, leastWidth)));
  return {
    costOf,
    available: 8 * (bytes - least) + spent,
    amountOf: (cost) => least + (cost - spent) / 8,
    unit: "bytes",
  };
}

/** The file of a model whose weights have these bits: ranges of activations change no size. */
export const fileBytesOf =
  (graph: Graph, quantize: QuantizeOptions, { free }: Choices, write: (graph: Graph) => number): FileBytes =>
  (widths) =>
    write(quantizedAt(graph, withWidths(quantize, free, widths)));

/** With ranges of activations that say nothing. */
export function quantizedAt(graph: Graph, options: QuantizeOptions): Graph {
  const sites = withoutQuantized(graph, findSites(graph, options));
  const range = { min: 0, max: 1 };
  const qparams = new Map([
    ...sites.weights.map((site) => [site.name, weightQparams(constantOf(graph, site.value), site, "min-max")] as const),
    ...sites.activations.map((site) => {
      const make = site.symmetric ? signedQparams : asymmetricQparams;
      const dtype = graph.values.get(site.value)?.dtype ?? "float32";
      return [site.name, make(range, site.bits, dtype, site.value)] as const;
    }),
  ]);
  return insertQuantizers(graph, sites, qparams);
}

/** The options in which each layer's weight has its bits. */
export function withWidths(quantize: QuantizeOptions, free: readonly Choice[], widths: Widths): QuantizeOptions {
  const chosen = free.flatMap(({ layers }, i) => layers.map((layer) => [layer, { weights: widths[i] }] as const));
  return { ...quantize, layers: { ...quantize.layers, ...Object.fromEntries(chosen) } };
}

/** Of the file as it was written: what later methods added counts. Throws VERIFICATION. */
export function checkBudget({ maxBits, maxSize }: MixedPrecisionOptions, { bytes, weights }: WrittenFile): void {
  const count = sum(weights.map((weight) => weight.count));
  const bits = sum(weights.map((weight) => weight.count * weight.bits)) / count;
  if (maxSize !== undefined && bytes > bytesOf(maxSize))
    throw new FrostbitError(
      "VERIFICATION",
      `The file has ${bytes} bytes; maxSize is ${bytesOf(maxSize)}. What runs after mixed precision added to it: give ${bytesOf(maxSize) - (bytes - bytesOf(maxSize))}.`,
    );
  if (maxBits !== undefined && bits > maxBits + 1e-9)
    throw new FrostbitError("VERIFICATION", `The file's weights have ${bits} bits in the mean; maxBits is ${maxBits}.`);
}

export const beyondBudget = (
  choices: Choices,
  { maxBits, maxSize, widths }: MixedPrecisionOptions,
  fileBytes: FileBytes,
): FrostbitError => {
  const least = choices.free.map(() => Math.min(...widths));
  const narrowest = `with ${Math.min(...widths)} bits for every layer whose bits are not given`;
  return new FrostbitError(
    "BAD_OPTION",
    maxSize === undefined
      ? `maxBits is ${maxBits}; ${narrowest} the mean is ${meanBits(choices, least).toFixed(2)}. Give a larger budget, or narrower widths.`
      : `maxSize is ${bytesOf(maxSize)} bytes; ${narrowest} the file has ${fileBytes(least)}: what is not weights, and how widths are stored, takes the rest.`,
  );
};
