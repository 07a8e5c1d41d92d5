// Cross-layer equalization (Data-Free Quantization, arXiv:1906.04721, §4.1): the same function, with more even weights.
import { assert } from "../../ir/errors.ts";
import { consumers, type Graph, type Node } from "../../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { numberAttribute } from "../../ops/attributes.ts";
import { isMatrixProduct } from "../../ops/linear.ts";
import { type LinearLayer, linearLayers, onlyReader } from "../../quantizers/linear-layers.ts";
import { forEachInRows, largestOfRows } from "../../quantizers/qparams.ts";

/** Two layers with nothing between them but a normalization and what scales with its input. */
interface Pair {
  readonly first: LinearLayer;
  readonly second: LinearLayer;
  /** The axis of the second weight that reads the first layer's channels. */
  readonly axis: number;
  /** The normalization between them: it takes the factors instead of the first layer's weight. */
  readonly norm: Node | undefined;
}

/** f(s · x) = s · f(x) for s > 0, channel by channel. */
const pointwise: ReadonlySet<string> = new Set(["Relu", "LeakyRelu", "PRelu", "Identity"]);
const homogeneous: ReadonlySet<string> = new Set([...pointwise, "MaxPool", "AveragePool", "GlobalAveragePool"]);

/** Rounds over all pairs; what one pair changes, its neighbours see in the next. */
const rounds = 20;

/** Channels whose weights are below this share of their offset give little else, and dividing would blow it up. */
const faint = 1e-3;

/** The graph with equalized weights, and how many pairs of layers it has: 0 leaves it as it is. */
export function equalizeLayers(graph: Graph): { graph: Graph; pairs: number } {
  const pairs = findPairs(graph);
  const constants = new Map(graph.constants);
  for (let round = 0; round < rounds; round++) for (const pair of pairs) equalizePair(constants, pair);
  return { graph: { ...graph, constants }, pairs: pairs.length };
}

/** Of channels that share an activation's scale, those below this share of the largest are rounded to 0 in 8 bits. */
const lostShare = 2 ** -9;

/** What counts for the second layer: at least this share of what the channel that counts most gives it. */
const countingShare = 0.01;

/**
 * Names of layers whose output has channels that rounding loses, though the layer behind them makes as much of these as of
 * others: what equalizing repairs.
 */
export function layersThatLoseChannels(graph: Graph): readonly string[] {
  const read = (name: string): Tensor => constantOf(graph.constants, name);
  return findPairs(graph)
    .filter((pair) => {
      const { before, after, offsets } = magnitudesOf(pair, read);
      const sizes = before.map((value, i) => Math.max(value, Math.abs(offsets[i] ?? 0)));
      const largest = sizes.reduce((most, size) => Math.max(most, size), 0);
      const given = sizes.map((size, i) => size * after[i]);
      const most = given.reduce((a, b) => Math.max(a, b), 0);
      return sizes.some((size, i) => size < lostShare * largest && given[i] > countingShare * most);
    })
    .map(({ first }) => first.name);
}

interface Magnitudes {
  /** The largest weight of each channel in the first layer, normalization counted, and in the second. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** What is added to each channel; empty where nothing is. */
  readonly offsets: ArrayLike<number>;
}

function magnitudesOf({ first, second, axis, norm }: Pair, read: (name: string) => Tensor): Magnitudes {
  const factors = norm ? factorsOf(norm, read) : undefined;
  const offset = norm ? norm.inputs[2] : first.bias;
  return {
    before: largestOfRows(read(first.weight), first.rowAxis).map((value, row) => value * (factors?.[row] ?? 1)),
    after: largestOfRows(read(second.weight), axis),
    offsets: offset === "" ? [] : numbersOf(read(offset)),
  };
}

function constantOf(constants: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const value = constants.get(name);
  assert(value, `"${name}" is not a constant`);
  return value;
}

function findPairs(graph: Graph): readonly Pair[] {
  const readers = consumers(graph);
  const layers = new Map(linearLayers(graph).map((layer) => [layer.node.name, layer]));
  /** Constants that only one node reads: others would see what is meant for one. */
  const isOwn = (name: string): boolean => (readers.get(name)?.length ?? 0) === 1 && graph.constants.has(name);
  return [...layers.values()].flatMap((first) => {
    const { norm, end } = follow(graph, readers, first);
    const second = end && layers.get(end.name);
    if (!second || ![first, second].every(({ node, weight }) => node.inputs[1] === weight && isOwn(weight))) return [];
    const scaled = norm ? norm.inputs.slice(1, 3) : first.bias === "" ? [] : [first.bias];
    const isVector = (name: string): boolean => graph.values.get(name)?.shape.length === 1;
    const isKnown = norm?.inputs.slice(1, 5).every((name) => graph.constants.has(name)) ?? true;
    const axis = readingAxis(graph, first, second);
    if (!isKnown || !scaled.every((name) => isOwn(name) && isVector(name)) || axis === undefined) return [];
    return [{ first, second, axis, norm }];
  });
}

/** From a layer through its normalization and activation to what reads them. */
function follow(
  graph: Graph,
  readers: ReadonlyMap<string, readonly Node[]>,
  layer: LinearLayer,
): { norm: Node | undefined; end: Node | undefined } {
  // Pools go along the axes of images, where a matrix product may have its channels.
  const operators = isMatrixProduct(layer.node) ? pointwise : homogeneous;
  const isHomogeneous = ({ op }: Node): boolean => operators.has(op);
  let value = layer.node.outputs[0];
  let norm: Node | undefined;
  for (;;) {
    const next = onlyReader(graph, readers, value);
    if (!next || next.inputs[0] !== value) return { norm, end: undefined };
    const isNorm = next.op === "BatchNormalization" && norm === undefined && value === layer.node.outputs[0];
    if (isNorm) norm = next;
    else if (!isHomogeneous(next)) return { norm, end: next };
    value = next.outputs[0];
  }
}

/** The axis of the second weight that reads the first layer's channels: a depthwise layer's rows, else its inputs. */
function readingAxis(graph: Graph, first: LinearLayer, second: LinearLayer): number | undefined {
  const channels = graph.values.get(first.weight)?.shape[first.rowAxis];
  const shape = graph.values.get(second.weight)?.shape ?? [];
  const group = numberAttribute(second.node, "group", 1);
  if (isMatrixProduct(first.node) !== isMatrixProduct(second.node)) return undefined;
  if (group === 1) return shape[second.inputAxis] === channels ? second.inputAxis : undefined;
  return group === channels && shape[second.rowAxis] === channels && shape[second.inputAxis] === 1
    ? second.rowAxis
    : undefined;
}

/** Eq. 11: sᵢ = √(r₁ᵢ r₂ᵢ) / r₂ᵢ; channels with hardly any weight keep theirs. */
function equalizePair(constants: Map<string, Tensor>, pair: Pair): void {
  const { first, second, axis, norm } = pair;
  const read = (name: string): Tensor => constantOf(constants, name);
  const { before, after, offsets } = magnitudesOf(pair, read);
  const divided = norm ? norm.inputs.slice(1, 3) : first.bias === "" ? [] : [first.bias];
  const threshold = (i: number): number => faint * Math.abs(offsets[i] ?? 0);
  const scales = before.map((value, i) => (value > threshold(i) && after[i] > 0 ? Math.sqrt(value / after[i]) : 1));
  const scale = (name: string, along: number, by: (row: number) => number): void => {
    const value = read(name);
    const numbers = new Float64Array(value.data.length);
    forEachInRows(value, along, (row, element, index) => {
      numbers[index] = element * by(row);
    });
    constants.set(name, tensorOf(value.dtype, value.shape, numbers));
  };
  for (const name of divided) scale(name, 0, (row) => 1 / scales[row]);
  if (!norm) scale(first.weight, first.rowAxis, (row) => 1 / scales[row]);
  scale(second.weight, axis, (row) => scales[row]);
}

/** |gamma| / √(variance + ε): what the normalization does to each channel of the weight before it. */
function factorsOf(norm: Node, read: (name: string) => Tensor): readonly number[] {
  const [gamma, , , variance] = norm.inputs.slice(1, 5).map((name) => numbersOf(read(name)));
  const epsilon = numberAttribute(norm, "epsilon", 1e-5);
  return Array.from(gamma, (value, c) => Math.abs(value) / Math.sqrt(variance[c] + epsilon));
}
