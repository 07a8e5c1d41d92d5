// Post-training quantization: ranges from a seeded sample of the training data, then quantizers with these ranges.
import { z } from "zod";
import { calibrate } from "../../calibration/calibrate.ts";
import { calibrationBatches, calibrationCount } from "../../calibration/calibration-data.ts";
import { findLostParts, type LostPart } from "../../calibration/lost-parts.ts";
import { withOpenLength } from "../../evaluate/sizes-of-data.ts";
import { FrostbitError } from "../../ir/errors.ts";
import { consumers, describeNode, type Graph } from "../../ir/graph.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { insertQuantizers } from "../../quantizers/insert.ts";
import { isDepthwise, linearLayers } from "../../quantizers/linear-layers.ts";
import { powerOfTwoQparams, type Range } from "../../quantizers/qparams.ts";
import { bitsOfLayer, matchesPattern, type QuantizeOptions } from "../../quantizers/quantize-options.ts";
import { quantizersOf } from "../../quantizers/quantizer.ts";
import { endLayers, findSites, type Sites, withoutQuantized } from "../../quantizers/sites.ts";
import type { Context } from "../../run/context.ts";
import type { Method, MethodJob, MethodModel } from "../method.ts";

export const ptqMethod: Method = {
  name: "ptq",
  summary: "rounds and trains nothing",
  options: z.object({}),
  phase: "calibration",
  grids: ["power", "codebook"],
  calledBy: [],
  training: "none",
  resumes: () => false,
  heldBytes: () => 0,
  unused: [],
  conflicts: () => [],
  check: ({ graph, quantize }) => void sitesOf(graph, quantize),
  run: async (job, context) => ({ model: await quantizeFloat(job, context) }),
};

/**
 * What is not quantized already. Throws BAD_MODEL where there is nothing to quantize, BAD_OPTION where `layers` names no
 * layer.
 */
export function sitesOf(float: Graph, options: QuantizeOptions, apart?: ReadonlySet<string>): Sites {
  const sites = findSites(float, options, apart);
  checkComputedScales(float, sites);
  if (sites.weights.length > 0) return withoutQuantized(float, sites);
  throw new FrostbitError(
    "BAD_MODEL",
    "The model has no layer to quantize: no Conv, Gemm or MatMul with a constant weight that --layers leaves to be quantized. Run `frostbit inspect` to see why.",
  );
}

/** Integers whose scale or zero point is another at each run have no range that calibration could find. */
function checkComputedScales({ nodes, constants }: Graph, { activations }: Sites): void {
  const values = new Set(activations.map(({ value }) => value));
  const isComputed = (name: string): boolean => name !== "" && !constants.has(name);
  const dynamic = nodes.filter(
    ({ op, inputs: [, ...qparams], outputs: [output] }) =>
      op === "DequantizeLinear" && values.has(output) && qparams.some(isComputed),
  );
  if (dynamic.length === 0) return;
  const named = dynamic.slice(0, 5).map(({ outputs: [output] }) => `"${output}"`);
  const more = dynamic.length > 5 ? ` and ${dynamic.length - 5} more` : "";
  throw new FrostbitError(
    "BAD_MODEL",
    `The model quantizes ${named.join(", ")}${more} as it runs, with scales or zero points that it computes (dynamic quantization), so that no range can be calibrated. Give the float model that it was made from, or leave the layers that read ${dynamic.length === 1 ? "it" : "them"} in float with --layers.`,
  );
}

type Job = Pick<MethodJob<unknown>, "model" | "data" | "scales">;

/** Quantizers that the model has already keep their ranges. */
async function quantizeFloat({ model, data, scales }: Job, context: Context): Promise<MethodModel> {
  const { graph, quantize } = model;
  const planned = sitesOf(graph, quantize);
  noteQuantized(graph, context);
  noteEnds(graph, quantize, context);
  noteDepthwise(graph, planned, context);
  noteFloatReaders(graph, planned, context);
  if (planned.weights.length + planned.activations.length === 0) return { ...model, float: graph };
  const batches = calibrationBatches(graph, data, { ...quantize, byLength: true }, context);
  const open = withOpenLength(graph, data.train);
  const lost = await findLostParts({ graph: open, sites: planned.activations }, batches, context);
  const sites = sitesOf(graph, quantize, new Set(lost.map(({ join }) => join.name)));
  noteLostParts(graph, sites, lost, context);
  const observed = { observer: quantize.observer, calibrationSamples: calibrationCount(data, quantize) };
  const qparams = await calibrate(open, sites, batches, observed, context);
  const chosen =
    scales === "powers-of-two"
      ? new Map([...qparams].map(([name, value]) => [name, powerOfTwoQparams(value)]))
      : qparams;
  return { ...model, float: graph, graph: insertQuantizers(graph, sites, chosen) };
}

/** Rows of nine or 25 weights that fewer than 8 bits round far off, and that hardly count for the file's size. */
function noteDepthwise(float: Graph, { weights }: Sites, { onNote }: Context): void {
  const layers = new Map(linearLayers(float).map((layer) => [layer.node.name, layer]));
  const elementsOf = (value: string): number => sizeOf(float.values.get(value)?.shape.map(Number) ?? []);
  const narrow = weights.flatMap(({ bits, readers, value }) => {
    const layer = bits < 8 && readers !== "all" ? layers.get(readers[0]) : undefined;
    return layer && isDepthwise(float, layer) ? [{ name: layer.name, bits, elements: elementsOf(value) }] : [];
  });
  if (narrow.length === 0) return;
  const all = weights.reduce((sum, { value }) => sum + elementsOf(value), 0);
  const share = narrow.reduce((sum, { elements }) => sum + elements, 0) / all;
  const bits = [...new Set(narrow.map((layer) => layer.bits))].sort().join(" and ");
  const names = narrow.slice(0, 3).map(({ name }) => `"${name}"`);
  const more = narrow.length > 3 ? ` and ${narrow.length - 3} more` : "";
  onNote?.(
    `${narrow.length} depthwise layer${narrow.length === 1 ? " has" : "s have"} weights of ${bits} bits: ${names.join(", ")}${more}. Rounding costs them most, and they hold ${(100 * share).toPrecision(2)} % of the weights: --layers ${choiceOf(narrow, [...layers.values()])} keeps 8 bits. With --method gptq, --first-last 8 and --prepare bias-correction besides, EfficientNet-Lite0 keeps 85 of 86 % at 4 bits; with ptq alone, 12 %.`,
  );
}

interface Named {
  readonly name: string;
}

/** As --layers takes it: 8 bits for these layers and no others, by one pattern where there is one. */
function choiceOf(chosen: readonly Named[], all: readonly Named[]): string {
  const names = chosen.map(({ name }) => name);
  const pattern = `${sharedStart(names)}*${reversed(sharedStart(names.map(reversed)))}`;
  const matches = all.filter(({ name }) => matchesPattern(pattern, name)).length;
  const patterns = names.length > 1 && matches === names.length ? [pattern] : names;
  return `'${patterns.map((each) => `${each}=8`).join(",")}'`;
}

const reversed = (text: string): string => [...text].reverse().join("");

function sharedStart([first, ...rest]: readonly string[]): string {
  let length = first.length;
  for (const other of rest) while (!other.startsWith(first.slice(0, length))) length--;
  return first.slice(0, length);
}

/** A table that is looked up and multiplied by has one initializer in the file that was given. */
function noteFloatReaders(float: Graph, { weights }: Sites, { onNote }: Context): void {
  const readersOf = consumers(float);
  for (const { value, readers } of weights) {
    const others = (readersOf.get(value) ?? []).filter(({ name }) => readers !== "all" && !readers.includes(name));
    const megabytes = ((sizeOf(float.values.get(value)?.shape.map(Number) ?? []) * 4) / 1e6).toPrecision(3);
    if (others.length === 0) continue;
    onNote?.(
      `Weight "${value}" (${megabytes} MB) is quantized for ${String(readers)}, and read in float by ${others.map(describeNode).join(", ")}: the file will have it twice, which may make it larger than the one given. --layers '${readers[0]}=float' keeps it once.`,
    );
  }
}

/** What is joined for a layer has one quantizer; what is joined for others is not quantized. */
function noteLostParts(float: Graph, { activations }: Sites, lost: readonly LostPart[], { onNote }: Context): void {
  const joined = new Set(activations.map(({ value }) => value));
  const kept = lost.filter(({ site }) => joined.has(site.value));
  for (const { site, join, name, range, whole, step } of kept.slice(0, 3)) {
    const layers = linearLayers(float).filter(({ input }) => input === site.value);
    const choice = layers.map((layer) => `${layer.name}=float`).join(",");
    const way = layers.length > 0 ? `, or leave what reads them in float: --layers '${choice}'` : "";
    const left = Math.floor((range.max - range.min) / step) + 1;
    onNote?.(
      `${describeNode(join)} joins "${name}" (${textOf(range)}) with values of ${textOf(whole)}, and "${site.value}" has one quantizer, whose step is ${step.toPrecision(3)}: of "${name}" ${left === 1 ? "1 value is" : `${left} values are`} left. Bring them to one range before they are joined${way}.`,
    );
  }
  if (kept.length > 3) onNote?.(`${kept.length - 3} more parts of joined values have ranges as unlike.`);
}

const textOf = ({ min, max }: Range): string => `${min.toPrecision(3)} to ${max.toPrecision(3)}`;

function noteEnds(float: Graph, options: QuantizeOptions, { onNote }: Context): void {
  if (options.firstLast === undefined) return;
  const layers = linearLayers(float).filter(({ name }) => bitsOfLayer(options, name) !== undefined);
  const ends = endLayers(float, layers).map(({ name }) => name);
  const named = ends.length > 12 ? `${ends.slice(0, 12).join(", ")} and ${ends.length - 12} more` : ends.join(", ");
  onNote?.(
    `First and last layers, weights and inputs at ${options.firstLast} bits unless --layers says otherwise: ${named}.`,
  );
}

/** What options say of bits and ranges is not for layers whose quantizers the file brings. */
function noteQuantized(float: Graph, context: Context): void {
  const weights = quantizersOf(float).filter(({ granularity }) => granularity !== "tensor");
  const bits = [...new Set(weights.map((quantizer) => quantizer.bits))].sort();
  if (weights.length > 0)
    context.onNote?.(
      `The weights of ${weights.length} layer${weights.length === 1 ? " are" : "s are"} quantized already: they keep their ${bits.join(" and ")} bits and their ranges, whatever --weights and --layers say.`,
    );
}
