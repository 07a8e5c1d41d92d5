// Runs the float model over calibration data and sets the range of every quantizer.
import { startCounting, type Tally } from "../distributed/tally.ts";
import type { Program } from "../engines/engine.ts";
import type { DType, TypedArray } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { piecesOf } from "../ir/joined-tensor.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { weightQparams } from "../quantizers/observe-weights.ts";
import { entropyRange } from "../quantizers/observers/entropy.ts";
import {
  addToHistogram,
  createHistogram,
  type Histogram,
  lpRange,
  movingAverage,
  mseRange,
  type ObserverName,
  percentileRange,
} from "../quantizers/observers/observer.ts";
import { asymmetricQparams, isZeroRange, type Qparams, type Range, signedQparams } from "../quantizers/qparams.ts";
import type { Site, Sites } from "../quantizers/sites.ts";
import { type Context, signalOf } from "../run/context.ts";
import { arraysOf, compileOptions, withProgram } from "../run/with-program.ts";
import type { CalibrationBatches } from "./calibration-data.ts";
import { noteDominatedRanges } from "./dominated-ranges.ts";
import { byElement, channelsOf, observeInputChannels } from "./input-channels.ts";

export interface CalibrationOptions {
  readonly observer: ObserverName;
  readonly calibrationSamples: number;
}

/** Qparams of every site, by site name. */
export async function calibrate(
  graph: Graph,
  sites: Sites,
  batches: CalibrationBatches,
  options: CalibrationOptions,
  context: Context,
): Promise<ReadonlyMap<string, Qparams>> {
  const owners = sites.activations.filter((site) => site.sameAs === undefined);
  const values = [...new Set(owners.map((site) => site.value))];
  const seen = { graph, batches, options, context };
  const isRangeEnough = options.observer === "min-max" || options.observer === "moving-average";
  // Weights alone have ranges of their own.
  const { ranges, isBlank } =
    values.length === 0 ? { ranges: new Map<string, Range>(), isBlank: false } : await observeRanges(seen, values);
  const histograms = isRangeEnough || values.length === 0 ? undefined : await observeHistograms(seen, ranges);
  for (const value of checkedZeros(ranges, isBlank, context)) {
    ranges.set(value, anyRange);
    histograms?.delete(value);
  }
  const result = new Map<string, Qparams>();
  const importance = await importanceOfWeights(seen, sites.weights);
  for (const site of sites.weights)
    result.set(site.name, weightQparams(weightOf(graph, site), site, options.observer, importance.get(site.name)));
  for (const site of owners) {
    const range = chooseRange(site, ranges, histograms, options.observer);
    const qparams = site.symmetric ? signedQparams : asymmetricQparams;
    result.set(site.name, qparams(range, site.bits, dtypeOf(graph, site.value), site.value));
  }
  if (owners.length > 0) await noteDominatedRanges({ graph, sites: owners, qparams: result }, batches, context);
  return result;
}

/** Of a value that was always 0: what is seen of it is exact with any scale. */
const anyRange: Range = { min: 0, max: 1 };

/** The values that were always 0, which is noted. Throws BAD_DATA where the inputs were, or everything. */
function checkedZeros(ranges: ReadonlyMap<string, Range>, isBlank: boolean, { onNote }: Context): readonly string[] {
  const zeros = [...ranges].filter(([, range]) => isZeroRange(range)).map(([value]) => value);
  if (zeros.length === 0) return [];
  const names = `"${zeros.slice(0, 5).join('", "')}"${zeros.length > 5 ? ` and ${zeros.length - 5} more` : ""}`;
  if (isBlank || zeros.length === ranges.size)
    throw new FrostbitError(
      "BAD_DATA",
      `${isBlank ? "The inputs were" : "Every value to quantize was"} 0 in all calibration samples, so that there is no range to choose (${names}). Check the data and the preprocessing: mean, std and layout.`,
    );
  onNote?.(
    `${names} ${zeros.length === 1 ? "was" : "were"} 0 in all calibration samples: quantized with scale ${anyRange.max}/(2^bits - 1). If other data gives other values there, calibrate with such data too.`,
  );
  return zeros;
}

const dtypeOf = (graph: Graph, value: string): DType => graph.values.get(value)?.dtype ?? "float32";

function weightOf(graph: Graph, { value }: Site): Tensor {
  const weight = graph.constants.get(value);
  assert(weight, `weight "${value}" is not a constant`);
  return weight;
}

/** By site whose weight becomes a codebook, of each element: the mean square of what it multiplies, over all layers that have it. */
async function importanceOfWeights(
  { graph, batches, context }: Seen,
  sites: readonly Site[],
): Promise<ReadonlyMap<string, Float64Array>> {
  const layers = linearLayers(graph);
  const places = sites
    .filter(({ grid }) => grid === "codebook")
    .map((site) => ({ site, readers: layers.filter(({ node }) => site.readers.includes(node.name)) }));
  if (places.length === 0) return new Map();
  const channels = await observeInputChannels(
    graph,
    places.flatMap(({ readers }) => readers),
    batches,
    context,
  );
  return new Map(
    places.map(({ site, readers }) => {
      const weight = weightOf(graph, site);
      const all = readers.map((layer) => byElement(layer, weight.shape, channelsOf(channels, layer).meanSquare));
      return [site.name, all[0].map((_, i) => all.reduce((sum, each) => sum + each[i], 0))] as const;
    }),
  );
}

function chooseRange(
  site: Site,
  ranges: ReadonlyMap<string, Range>,
  histograms: ReadonlyMap<string, Histogram> | undefined,
  observer: ObserverName,
): Range {
  const range = ranges.get(site.value);
  assert(range, `no range was observed for "${site.value}"`);
  const histogram = histograms?.get(site.value);
  if (!histogram || range.min === range.max) return range;
  if (observer === "percentile") return percentileRange(histogram);
  const choose = observer === "mse" ? mseRange : observer === "lp" ? lpRange : entropyRange;
  return choose(histogram, site.bits, site.symmetric);
}

/** What is run to see its values. */
interface Seen {
  readonly graph: Graph;
  readonly batches: CalibrationBatches;
  readonly options: CalibrationOptions;
  readonly context: Context;
}

interface Observed {
  readonly ranges: Map<string, Range>;
  /** Whether all inputs were 0 in all samples. */
  readonly isBlank: boolean;
}

async function observeRanges(seen: Seen, values: readonly string[]): Promise<Observed> {
  const build = buildOn(seen.graph);
  const names = values.map((value) => [
    build.node("ReduceMin", [value], { keepdims: 0 }),
    build.node("ReduceMax", [value], { keepdims: 0 }),
  ]);
  const graph = build.graph(names.flat());
  const { sums, lists } = await observe({ ...seen, graph }, "calibrate", (output, inputs) => {
    const isBlank = [...inputs.values()].every(({ data }) =>
      data.every((element: number | bigint) => Number(element) === 0),
    );
    return { sums: [[Number(!isBlank)]], lists: names.flat().map((name) => [numbersOf(output(name))[0]]) };
  });
  const join = seen.options.observer === "moving-average" ? movingAverage : widened;
  const ranges = values.map((value, i) => {
    const [mins, maxs] = [lists[2 * i], lists[2 * i + 1]];
    const ofBatches = Array.from(mins, (min, batch): Range => ({ min, max: maxs[batch] }));
    return [value, ofBatches.reduce(join)] as const;
  });
  return { ranges: new Map(ranges), isBlank: sums[0][0] === 0 };
}

const widened = (range: Range, { min, max }: Range): Range => ({
  min: Math.min(range.min, min),
  max: Math.max(range.max, max),
});

async function observeHistograms(seen: Seen, ranges: ReadonlyMap<string, Range>): Promise<Map<string, Histogram>> {
  const build = buildOn(seen.graph);
  // A graph gives no input of its own.
  const outputOf = (value: string): string =>
    seen.graph.inputs.includes(value) ? build.node("Identity", [value]) : value;
  const outputs = new Map([...ranges.keys()].map((value) => [value, outputOf(value)]));
  const own = new Map([...ranges].map(([value, range]) => [value, createHistogram(range)]));
  await observe({ ...seen, graph: build.graph([...outputs.values()]) }, "calibrate: histograms", (output) => {
    for (const [value, histogram] of own) addToHistogram(histogram, inAnyOrder(output(outputs.get(value) ?? "")));
    return { sums: [], lists: [] };
  });
  const counting = startCounting(seen.context.communicator);
  counting.add({ sums: [], counts: [...own.values()].map(({ counts }) => counts), lists: [] });
  const { counts = [] } = (await counting.end()) ?? {};
  return new Map([...own].map(([value, { range }], i) => [value, { range, counts: Float64Array.from(counts[i]) }]));
}

/** The numbers of an output as they lie. */
const inAnyOrder = (output: Tensor): ArrayLike<number> =>
  (piecesOf(output)?.arrays[0] as Float32Array | undefined) ?? numbersOf(output);

/** Several processes share the batches: what `seeOne` gives of each is joined in their order, everywhere. */
async function observe(
  { graph, batches, options, context }: Seen,
  phase: string,
  seeOne: (output: (name: string) => Tensor, inputs: ReadonlyMap<string, Tensor>) => Tally,
): Promise<Tally> {
  const { communicator } = context;
  const total = options.calibrationSamples;
  const counting = startCounting(communicator);
  const see = async (program: Program): Promise<void> => {
    let done = 0;
    let last: { readonly samples: number; readonly arrays: ReadonlyMap<string, TypedArray> } | undefined;
    for await (const inputs of batches(communicator)) {
      const samples = inputs.values().next().value?.shape[0] ?? 0;
      const spare = last?.samples === samples ? last.arrays : new Map();
      const outputs = await program.run(inputs, { ...signalOf(context), spare });
      last = { samples, arrays: arraysOf(outputs) };
      const output = (name: string): Tensor => {
        const tensor = outputs.get(name);
        assert(tensor, `calibration output "${name}" is missing`);
        return tensor;
      };
      counting.add(seeOne(output, inputs));
      done = Math.min(total, done + samples * (communicator?.size ?? 1));
      context.onProgress?.({ phase, done, total });
    }
  };
  await withProgram(graph, context, see, { ...compileOptions(context), keepsChannelsLast: true });
  const counted = await counting.end();
  if (counted) return counted;
  throw new FrostbitError("BAD_DATA", "Calibration got no samples. Check the data set and calibrationSamples.");
}
