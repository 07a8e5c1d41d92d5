// What there is to spend on weights: bits in the mean, or bytes of the file that is written.
import { FrostbitError } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { multiplyAddsOf } from "../../passes/count-operations.ts";
import { setBatchSize } from "../../passes/set-batch-size.ts";
import { insertQuantizers } from "../../quantizers/insert.ts";
import { linearLayers } from "../../quantizers/linear-layers.ts";
import { weightQparams } from "../../quantizers/observe-weights.ts";
import { asymmetricQparams, type Range, signedQparams } from "../../quantizers/qparams.ts";
import { bitsOfLayer, type QuantizeOptions } from "../../quantizers/quantize-options.ts";
import { findSites, withFirstLast, withoutQuantized } from "../../quantizers/sites.ts";
import { constantOf } from "../../rounding/grid.ts";
import type { WidthFindings, WrittenFile } from "../method.ts";
import type { Choice, Choices } from "./choices.ts";

/** What a weight costs at a width, and how much there is to spend. Costs are whole numbers. */
export interface Budget {
  /** The option that gives it. */
  readonly option: "maxBits" | "maxSize" | "maxLatency" | "maxBops";
  readonly costOf: (choice: Choice, width: number) => number;
  readonly available: number;
  /** By how much a plan is beyond the budget though its costs are not, in the unit of costs; absent: costs add up exactly. */
  readonly excessOf?: (widths: Widths) => number;
  /** What a cost comes to, for people. */
  readonly amountOf: (cost: number) => number;
  readonly unit: WidthFindings["budget"]["unit"];
  /** What to say where even the cheapest widths are beyond it. */
  readonly outOfReach: () => FrostbitError;
}

/** By weight, in the order of `choices.free`. */
export type Widths = readonly number[];

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Mean over all weights that are quantized. */
export function meanBits({ free, fixed }: Choices, widths: Widths): number {
  const bits = sum(free.map(({ count }, i) => count * widths[i])) + sum(fixed.map(({ count, bits }) => count * bits));
  return bits / sum([...free, ...fixed].map(({ count }) => count));
}

export function bitBudget(choices: Choices, maxBits: number): Budget {
  const { free, fixed } = choices;
  const all = sum([...free, ...fixed].map(({ count }) => count));
  const given = sum(fixed.map(({ count, bits }) => count * bits));
  return {
    option: "maxBits",
    costOf: ({ count }, width) => count * width,
    available: Math.floor(maxBits * all - given),
    amountOf: (cost) => (cost + given) / all,
    unit: "bits",
    outOfReach: () => {
      const least = narrowestOf(free);
      return new FrostbitError(
        "BAD_OPTION",
        `maxBits is ${maxBits}; ${sayNarrowest(least)} the mean is ${meanBits(choices, least).toFixed(2)}. Give a larger budget, or narrower widths.`,
      );
    },
  };
}

/** Bytes of the file in which the weights have these bits. */
export type FileBytes = (widths: Widths) => number;

/**
 * What is written at the same bits for all says how many bits a width takes in the file in the mean; small layers take more, so that
 * a plan is written to know.
 */
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
    option: "maxSize",
    costOf,
    available: 8 * (bytes - least) + spent,
    excessOf: (chosen) => Math.max(0, 8 * (fileBytes(chosen) - bytes)),
    amountOf: (cost) => least + (cost - spent) / 8,
    unit: "bytes",
    outOfReach: () => {
      const narrowest = narrowestOf(free);
      return new FrostbitError(
        "BAD_OPTION",
        `maxSize is ${bytes} bytes; ${sayNarrowest(narrowest)} the file has ${fileBytes(narrowest)}: what is not weights, and how widths are stored, takes the rest.`,
      );
    },
  };
}

/** The file of a model whose weights have these bits; what calibration finds makes none larger. */
export const fileBytesOf =
  (graph: Graph, quantize: QuantizeOptions, { free }: Choices, write: (graph: Graph) => number): FileBytes =>
  (widths) =>
    write(quantizedAt(graph, withWidths(quantize, free, widths), differentRange));

/** Zero points of their own, of three digits in names: files hold equal ones once, and which calibration will find is not known. */
const differentRange: RangeOf = (site) => {
  const zeroPoint = 100 + (site % 150);
  return { min: -zeroPoint / (255 - zeroPoint), max: 1 };
};

/** Behind a Relu, kernels of integers want it so. */
const positiveRange: RangeOf = () => ({ min: 0, max: 1 });

type RangeOf = (site: number) => Range;

/** With ranges of activations that say nothing. */
export function quantizedAt(graph: Graph, options: QuantizeOptions, rangeOf = positiveRange): Graph {
  const sites = withoutQuantized(graph, findSites(graph, options));
  const qparams = new Map([
    ...sites.weights.map((site) => [site.name, weightQparams(constantOf(graph, site.value), site, "min-max")] as const),
    ...sites.activations.map((site, i) => {
      const make = site.symmetric ? signedQparams : asymmetricQparams;
      const dtype = graph.values.get(site.value)?.dtype ?? "float32";
      return [site.name, make(rangeOf(i), site.bits, dtype, site.value)] as const;
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
export function checkBudget(
  { maxBits, maxBytes }: { readonly maxBits: number | undefined; readonly maxBytes: number | undefined },
  { bytes, weights }: WrittenFile,
): void {
  const count = sum(weights.map((weight) => weight.count));
  const bits = sum(weights.map((weight) => weight.count * weight.bits)) / count;
  if (maxBytes !== undefined && bytes > maxBytes)
    throw new FrostbitError(
      "VERIFICATION",
      `The file has ${bytes} bytes; maxSize is ${maxBytes}. What runs after mixed precision added to it: give ${maxBytes - (bytes - maxBytes)}.`,
    );
  if (maxBits !== undefined && bits > maxBits + 1e-9)
    throw new FrostbitError("VERIFICATION", `The file's weights have ${bits} bits in the mean; maxBits is ${maxBits}.`);
}

/** Of each weight whose bits are chosen. */
const narrowestOf = (free: readonly Choice[]): Widths => free.map(({ rounded }) => Math.min(...rounded.keys()));
const sayNarrowest = (least: Widths): string =>
  `with ${Math.min(...least)} bits for every layer whose bits are not given`;

/** Multiply-adds of one sample times the bits of both operands. */
export function operationBudget(
  graph: Graph,
  quantize: QuantizeOptions,
  { free, fixed }: Choices,
  maxBops: number,
): Budget {
  const sized = setBatchSize(graph, 1);
  const layers = linearLayers(sized);
  const options = withFirstLast(graph, linearLayers(graph), quantize);
  /** Of a layer, for each bit of its weight. */
  const perBit = (name: string): number => {
    const layer = layers.find((other) => other.name === name);
    const multiplyAdds = layer && multiplyAddsOf(sized, layer.node);
    if (multiplyAdds === undefined)
      throw new FrostbitError(
        "BAD_OPTION",
        `maxBops cannot be counted: the multiply-adds of layer "${name}" are known only while the model runs.`,
      );
    const { activations } = bitsOfLayer(options, name) ?? options;
    return multiplyAdds * (activations === "float" ? 32 : activations);
  };
  const perBitOf = ({ layers: names }: Pick<Choice, "layers">): number => sum(names.map(perBit));
  const given = sum(fixed.map((each) => perBitOf(each) * each.bits));
  const costs = new Map(free.map((choice) => [choice, perBitOf(choice)]));
  const costOf: Budget["costOf"] = (choice, width) => (costs.get(choice) ?? 0) * width;
  return {
    option: "maxBops",
    costOf,
    available: Math.floor(maxBops - given),
    amountOf: (cost) => cost + given,
    unit: "bops",
    outOfReach: () => {
      const least = narrowestOf(free);
      const operations = given + sum(free.map((choice, i) => costOf(choice, least[i])));
      return new FrostbitError(
        "BAD_OPTION",
        `maxBops is ${maxBops}; ${sayNarrowest(least)} a sample takes ${operations} bit operations. Give a larger budget, or fewer bits for activations.`,
      );
    },
  };
}

/** Each of several budgets can be kept alone. */
export const notTogether = (budgets: readonly Budget[]): FrostbitError =>
  new FrostbitError(
    "BAD_OPTION",
    `No widths keep ${budgets.map(({ option }) => option).join(" and ")} at once, though each can be kept alone. Give more of one of them, or other widths.`,
  );

/** Whether some widths are within a budget. */
export const isReachable = ({ costOf, available }: Budget, free: readonly Choice[]): boolean =>
  sum(free.map((choice) => Math.min(...[...choice.rounded.keys()].map((width) => costOf(choice, width))))) <= available;
