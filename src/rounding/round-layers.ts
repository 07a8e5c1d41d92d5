// Rounds the weights of a quantized model layer after layer, each knowing what those before it have become.
import { assert } from "../ir/errors.ts";
import { consumers, type Graph, type Node } from "../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { type LinearLayer, linearLayers, onlyReader } from "../quantizers/linear-layers.ts";
import { type Quantizer, quantizersOf } from "../quantizers/quantizer.ts";
import type { Context } from "../run/context.ts";
import { withSharedPlans } from "../units/shared-plans.ts";
import { withFloatActivations } from "./float-activations.ts";
import {
  constantOf,
  dequantize,
  gridOf,
  nearestIntegers,
  placeIntegers,
  placeScales,
  quotientsOf,
  roundedLayers,
  scaleIndices,
} from "./grid.ts";
import { type Batches, bytesOf, cutAt, passOver, type Streams, startOf } from "./layer-pass.ts";
import { fromMatrices, type MatrixForm, matrixFormOf, toMatrices } from "./matrix-form.ts";
import { measureMoments, type SplitMoments } from "./measure-moments.ts";
import { errorOfRows, type SecondMoments } from "./moments.ts";
import type { MomentsOptions, StreamName } from "./options.ts";
import type { RoundingProblem, RoundingSolver } from "./problem.ts";
import { type Multiply, withProducts } from "./products.ts";
import { type RangeProblem, type RangeSearch, searchRanges } from "./search-ranges.ts";

/** What became of a layer. */
interface RoundedLayer {
  readonly name: string;
  /** On samples held out, noise to signal of the layer's output: rounded to nearest, and as the method rounds it. */
  readonly nearest: number;
  readonly chosen: number;
  /** A layer that the method makes worse keeps nearest. */
  readonly kept: "nearest" | "chosen";
}

export interface Rounded {
  readonly graph: Graph;
  readonly layers: readonly RoundedLayer[];
}

/** What both streams together may hold in memory; where it is too little, the layers before are computed again. */
const heldBytes = 2 ** 30;

/** About what the streams of all layers hold at their most: as much again is not collected yet. */
export function streamBytes(float: Graph, samples: number): number {
  const layers = linearLayers(float).map(({ node }) => node);
  const needed = removeDeadNodes({ ...float, outputs: layers.map(({ outputs }) => outputs[0]) });
  return layers.reduce((most, { name }) => {
    const bytes = heldAt(needed, cutsAround(needed, name), samples);
    return bytes <= heldBytes ? Math.max(most, 2 * bytes) : most;
  }, 0);
}

export interface RoundingJob {
  readonly quantized: Graph;
  /** Names its values as the quantized graph does. Weights that are quantized in it keep their integers. */
  readonly float: Graph;
  readonly batches: Batches;
  readonly options: MomentsOptions;
  /** How better scales are searched before a layer is rounded; absent where they stay. */
  readonly search: RangeSearch | undefined;
  readonly solve: RoundingSolver;
}

/** The quantized graph with weights on the integers that `solve` chose: each layer's quantizer gives just these. */
export async function roundLayers(job: RoundingJob, context: Context): Promise<Rounded> {
  return withSharedPlans(context, (sharing) => roundAll(job, context, sharing));
}

/** `sharing`: what solvers compile with. */
async function roundAll(job: RoundingJob, context: Context, sharing: Context): Promise<Rounded> {
  const { quantized, float, batches, options } = job;
  const places = roundedLayers(quantized, float);
  const outputs = places.map(({ layer }) => layer.node.outputs[0]);
  const needed = removeDeadNodes({ ...float, outputs });
  let graph = quantized;
  let streams = startOf(float, batches);
  const layers: RoundedLayer[] = [];
  for (const [index, { layer, quantizer }] of places.entries()) {
    context.onProgress?.({ phase: "round weights", done: index, total: places.length });
    const form = matrixFormOf(graph, layer);
    if (form === undefined) {
      context.onNote?.(`Layer "${layer.name}" is a transposed convolution; its weights keep rounding to nearest.`);
      continue;
    }
    const carrying = carrier(graph, float, options.stream);
    const { name } = layer.node;
    const pass = passOver({
      from: streams,
      graphs: { float, carried: carrying },
      wanted: { float: nodeNamed(float, name).outputs[0], carried: nodeNamed(carrying, name).inputs[0] },
      bias: biasOf(graph, nodeNamed(graph, name)),
      cuts: cutsThatFit(needed, name, options.roundingSamples),
    });
    const { dtype } = constantOf(graph, quantizer.value);
    const { positions } = options;
    const moments = await measureMoments({ node: layer.node, form, dtype, positions, pass }, context);
    streams = pass.end();
    const place = { layer, quantizer, form, moments };
    const { graph: rounded, ...result } = await withProducts(context, (multiply) =>
      roundLayer(job, graph, place, { sharing, multiply }),
    );
    graph = rounded;
    if (result.kept === "nearest") context.onNote?.(noteOfNearest(result));
    layers.push(result);
  }
  context.onProgress?.({ phase: "round weights", done: places.length, total: places.length });
  return { graph, layers };
}

/** The float stream goes on from behind the layer, the other from before it, where the layer is not rounded yet. */
function cutsAround(needed: Graph, layer: string): Streams["cuts"] {
  const at = needed.nodes.findIndex(({ name }) => name === layer);
  return { float: cutAt(needed, at + 1), carried: cutAt(needed, at) };
}

const heldAt = (needed: Graph, { float, carried }: Streams["cuts"], samples: number): number =>
  bytesOf(needed, [...float, ...carried]) * samples;

function cutsThatFit(needed: Graph, layer: string, samples: number): Streams["cuts"] | undefined {
  const cuts = cutsAround(needed, layer);
  return heldAt(needed, cuts, samples) <= heldBytes ? cuts : undefined;
}

interface Place {
  readonly layer: LinearLayer;
  readonly quantizer: Quantizer;
  readonly form: MatrixForm;
  readonly moments: SplitMoments;
}

interface Means {
  readonly sharing: Context;
  readonly multiply: Multiply;
}

async function roundLayer(
  { search, solve }: RoundingJob,
  graph: Graph,
  { layer, quantizer, form, moments: { fitted, heldOut } }: Place,
  { sharing, multiply }: Means,
): Promise<RoundedLayer & { readonly graph: Graph }> {
  const given = problemOf(graph, layer, quantizer, form, fitted);
  const searched = search
    ? placeScales(graph, current(graph, quantizer), await searchRanges(given, search, multiply))
    : graph;
  const problem = search ? problemOf(searched, layer, quantizer, form, fitted) : given;
  const integers = await solve(problem, sharing, multiply);
  const nearest = await relativeError(given, heldOut, nearestOf(given), multiply);
  const chosen = await relativeError(problem, heldOut, integers, multiply);
  return chosen > nearest
    ? { name: layer.name, nearest, chosen, kept: "nearest", graph: place(graph, quantizer, form, nearestOf(given)) }
    : { name: layer.name, nearest, chosen, kept: "chosen", graph: place(searched, quantizer, form, integers) };
}

/** The quantizer as it is in this graph. */
function current(graph: Graph, { output }: Quantizer): Quantizer {
  const quantizer = quantizersOf(graph).find((other) => other.output === output);
  assert(quantizer, `there is no quantizer of "${output}"`);
  return quantizer;
}

function noteOfNearest({ name, nearest, chosen }: RoundedLayer): string {
  const ratio = (chosen / nearest).toPrecision(3);
  return `Layer "${name}" keeps its weights rounded to nearest: on samples held out, rounding them otherwise makes the error of its output ${ratio} times as large.`;
}

/** The graph that carries a layer's inputs to it. */
function carrier(graph: Graph, float: Graph, stream: StreamName): Graph {
  if (stream === "quantized") return graph;
  return stream === "float" ? float : withFloatActivations(graph);
}

function nodeNamed({ nodes }: Graph, name: string): Node {
  const node = nodes.find((other) => other.name === name);
  assert(node, `there is no layer "${name}"`);
  return node;
}

/** Shaped to be added to the layer's output; `undefined` where the layer has none. */
function biasOf(graph: Graph, node: Node): Tensor | undefined {
  const name = node.inputs[2] ?? "";
  if (name === "" || node.op === "MatMul") return undefined;
  const bias = constantOf(graph, name);
  const rank = graph.values.get(node.outputs[0])?.shape.length ?? 2;
  if (node.op === "Conv") return { ...bias, shape: [...bias.shape, ...Array.from({ length: rank - 2 }, () => 1)] };
  const beta = numberAttribute(node, "beta", 1);
  return tensorOf(
    bias.dtype,
    bias.shape,
    Array.from(numbersOf(bias), (value) => value * beta),
  );
}

function problemOf(
  graph: Graph,
  layer: LinearLayer,
  given: Quantizer,
  form: MatrixForm,
  moments: SecondMoments,
): RangeProblem {
  const quantizer = current(graph, given);
  const weight = constantOf(graph, quantizer.value);
  const grid = gridOf(graph, quantizer);
  return {
    dtype: weight.dtype,
    form,
    weights: toMatrices(form, numbersOf(weight)),
    quotients: toMatrices(form, quotientsOf(weight, grid)),
    scales: Float64Array.from(numbersOf(constantOf(graph, quantizer.scale))),
    scaleOf: toMatrices(form, scaleIndices(graph, quantizer)),
    grid: { ...grid, scale: toMatrices(form, grid.scale), zeroPoint: toMatrices(form, grid.zeroPoint) },
    moments,
    factors: factorsOf(graph, layer, form.groups * form.rows),
  };
}

/** γ / √(variance + ε) of a normalization of constants that alone reads the layer's output; ones without it. */
function factorsOf(graph: Graph, { node }: LinearLayer, rows: number): Float64Array {
  const next = onlyReader(graph, consumers(graph), node.outputs[0]);
  const isNormalized =
    node.op === "Conv" &&
    next?.op === "BatchNormalization" &&
    next.inputs.slice(1, 5).every((name) => graph.constants.has(name));
  if (!isNormalized) return new Float64Array(rows).fill(1);
  const [gamma, , , variance] = next.inputs.slice(1, 5).map((name) => numbersOf(constantOf(graph, name)));
  const epsilon = numberAttribute(next, "epsilon", 1e-5);
  return Float64Array.from({ length: rows }, (_, row) => gamma[row] / Math.sqrt(variance[row] + epsilon));
}

const nearestOf = ({ quotients, grid }: RoundingProblem): Float64Array => nearestIntegers(quotients, grid);

/** Noise to signal of the layer's output, as its normalization weighs the rows. */
async function relativeError(
  { grid, factors }: RoundingProblem,
  moments: SecondMoments,
  integers: Float64Array,
  multiply: Multiply,
): Promise<number> {
  const weigh = (values: ArrayLike<number>): number =>
    factors.reduce((sum, factor, row) => sum + factor * factor * values[row], 0);
  const signal = weigh(moments.targets) / Math.max(1, moments.count);
  return weigh(await errorOfRows(moments, dequantize(grid, integers), multiply)) / Math.max(signal, Number.MIN_VALUE);
}

function place(graph: Graph, given: Quantizer, form: MatrixForm, integers: Float64Array): Graph {
  const quantizer = current(graph, given);
  const values = fromMatrices(form, integers, constantOf(graph, quantizer.value));
  return placeIntegers(graph, quantizer, numbersOf(values));
}
