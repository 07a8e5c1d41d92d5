// What a model consists of, what of it can be quantized and trained, and what cannot and why.

import { reportedDb, sqnrDb } from "../evaluate/difference.ts";
import { fixedBatch } from "../evaluate/model-file.ts";
import { inputTypes } from "../ir/batch-axes.ts";
import { type DType, isFloat, packedBytes } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../ir/tensor.ts";
import { loaded } from "../ir/tensor-source.ts";
import { importanceOfRows } from "../methods/efqat/importance.ts";
import { methods } from "../methods/index.ts";
import { opDefinition } from "../ops/index.ts";
import { isLinear, rowsObstacle } from "../ops/linear.ts";
import { multiplyAddsOf } from "../passes/count-operations.ts";
import { freeBatch } from "../passes/free-batch.ts";
import { joinBiases } from "../passes/join-biases.ts";
import { matrixWeights } from "../passes/matrix-weights.ts";
import { separateBiases } from "../passes/separate-biases.ts";
import { symbolicSizes, withSizes } from "../passes/with-sizes.ts";
import { fixedFilter } from "../quantizers/fixed-filters.ts";
import { type Histogram, histogramOf } from "../quantizers/histogram.ts";
import { type LinearLayer, linearLayers } from "../quantizers/linear-layers.ts";
import { largestOfRows } from "../quantizers/qparams.ts";
import { boundsOf } from "../quantizers/quantizer.ts";
import { dequantizerOf, isDequantizer } from "../quantizers/recognize.ts";
import { type ParameterRole, parametersOf as trainedParameters } from "../training/parameters.ts";
import { cutIntoUnits, type Unit, type UnitKind } from "../units/units.ts";

/** A layer that can be quantized: a product with a constant weight. */
export interface InspectedLayer {
  readonly name: string;
  readonly node: string;
  readonly op: string;
  readonly weightShape: readonly number[];
  readonly parameters: number;
  readonly sizeBytes: number;
  /** For one sample; `null` where sizes decide that only a run knows. */
  readonly multiplyAdds: number | null;
  /** Mean |w| of each output channel (EfQAT eq. 6). */
  readonly importance: readonly number[];
  readonly weights: Histogram;
  /** SQNR of the weights rounded to `bits`, one scale per output channel: `null` where nothing differs, −1000 where a weight is NaN. */
  readonly rounding: readonly { readonly bits: number; readonly sqnrDb: number | null }[];
  /** Whether a gradient reaches it. */
  readonly canTrain: boolean;
}

/** A product whose weight the file holds as integers behind DequantizeLinear. */
export interface QuantizedLayer {
  readonly name: string;
  readonly node: string;
  readonly op: string;
  readonly weightShape: readonly number[];
  readonly parameters: number;
  readonly dtype: DType;
  /** The fewest that hold the weight's integers: 3-bit weights may be in int8. */
  readonly bits: number;
  /** As the file packs them, without scales. */
  readonly sizeBytes: number;
  readonly multiplyAdds: number | null;
}

/** A constant that trains without belonging to a layer or a normalization: an embedding, a token, positions, slopes. */
export interface LearnedConstant {
  readonly name: string;
  readonly shape: readonly number[];
  readonly parameters: number;
  /** Names of methods; EfQAT freezes tables, those with more than one axis longer than 1. */
  readonly trainsIn: readonly string[];
}

/** A node, and why it stays as it is. */
export interface Refusal {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

/** What a model consists of, what of it can be quantized and trained, and what cannot and why. */
export interface Inspection {
  readonly inputs: readonly InspectedValue[];
  readonly outputs: readonly InspectedValue[];
  /** Floats, and integers behind DequantizeLinear; scales and zero points do not count. */
  readonly parameters: number;
  /** Of all constants, as a file holds them. */
  readonly sizeBytes: number;
  /** For one sample at `sizes`, without the nodes that are `uncounted`. */
  readonly multiplyAdds: number;
  /** What the symbolic sizes of the inputs count as, but for the batch, which is 1. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Nodes whose multiply-adds depend on sizes that only a run knows. */
  readonly uncounted: readonly string[];
  /** By operator, those with the most multiply-adds first. */
  readonly operators: readonly { readonly op: string; readonly count: number; readonly multiplyAdds: number | null }[];
  /** What can be quantized. */
  readonly layers: readonly InspectedLayer[];
  readonly alreadyQuantized: readonly QuantizedLayer[];
  /** ONNX marks nothing as learned: what is taken for it by where it stands. */
  readonly learned: readonly LearnedConstant[];
  /** Products that stay in float. */
  readonly notQuantizable: readonly Refusal[];
  /** Operators without a gradient behind layers that cannot train because of them. */
  readonly notDifferentiable: readonly Refusal[];
  /** What learned rounding reconstructs one after the other, where `units` asks for it. */
  readonly units?: readonly Unit[];
}

/** An input or output; symbolic sizes by their names. */
export interface InspectedValue {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly Dim[];
}

/** What `inspectModel` is told besides the model. */
export interface InspectOptions {
  /** What multiply-adds are counted at, by the name of a symbolic size of the inputs; 64 where absent. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** Also cuts the model into units of this kind. */
  readonly units?: UnitKind;
}

/**
 * Looks at a model without running it: nothing is computed but small constants and the statistics of its weights. Throws BAD_MODEL
 * where units are asked for and there is no layer.
 *
 * @example
 * const { layers, notQuantizable } = inspectModel(readModel("resnet20.onnx").graph);
 */
export function inspectModel(model: Graph, { sizes: wanted = {}, units }: InspectOptions = {}): Inspection {
  const graph = separateBiases(joinBiases(matrixWeights(freeBatch(model).graph)));
  const { costs, sizes, uncounted } = countCosts(graph, wanted);
  const reached = differentiableNodes(graph);
  const layers = linearLayers(graph);
  const constants = [...graph.constants.values()];
  const quantized = quantizedLayers(graph, costs);
  return {
    inputs: graph.inputs.map((name) => inspectValue(graph, name)),
    outputs: graph.outputs.map((name) => inspectValue(graph, name)),
    parameters: parametersOf(graph),
    sizeBytes: constants.reduce((sum, value) => sum + bytesOf(value), 0),
    multiplyAdds: [...costs.values()].reduce<number>((sum, value) => sum + (value ?? 0), 0),
    sizes,
    uncounted,
    operators: countOperators(graph, costs),
    layers: layers.flatMap((layer) => inspectLayer(graph, layer, costs, reached)),
    alreadyQuantized: quantized,
    learned: learnedConstants(graph),
    notQuantizable: refusedProducts(graph, layers, new Set(quantized.map(({ node }) => node))),
    notDifferentiable: blockersOf(
      graph,
      layers.filter(({ node }) => !reached.has(node.name)),
    ),
    ...(units ? { units: cutIntoUnits(withSizes(graph, new Map(Object.entries(sizes))), units) } : {}),
  };
}

/** By node; `null` where it is not known. */
type Costs = ReadonlyMap<string, number | null>;

/** As long as sentences are, and a multiple of the strides that images go through. */
const defaultSize = 64;

/** Of one sample. What is folded at these sizes costs nothing. */
function countCosts(
  graph: Graph,
  wanted: Readonly<Record<string, number>>,
): { readonly costs: Costs } & Pick<Inspection, "sizes" | "uncounted"> {
  checkSizes(graph, wanted);
  const { batch, others } = symbolicSizes(graph);
  const sizes = Object.fromEntries(others.map((name) => [name, wanted[name] ?? defaultSize]));
  const samples = fixedBatch({ inputs: inputTypes(graph) }) ?? 1;
  const sized = atSizes(graph, new Map([...batch.map((name) => [name, 1] as const), ...Object.entries(sizes)]));
  const costs = new Map<string, number | null>(graph.nodes.map(({ name }) => [name, 0]));
  for (const node of sized.nodes) {
    const count = multiplyAddsOf(sized, node);
    costs.set(node.name, count === undefined ? null : count / Math.max(1, samples));
  }
  return { costs, sizes, uncounted: [...costs.keys()].filter((name) => costs.get(name) === null) };
}

/** Throws BAD_OPTION for names that are not those of symbolic sizes. */
export function checkSizes(graph: Graph, sizes: Readonly<Record<string, number>>): void {
  const { others } = symbolicSizes(graph);
  const unknown = Object.keys(sizes).find((name) => !others.includes(name));
  if (unknown === undefined) return;
  throw new FrostbitError(
    "BAD_OPTION",
    `sizes names "${unknown}", and the model's inputs have ${others.length === 0 ? "no symbolic size but the batch" : others.map((name) => `"${name}"`).join(", ")}.`,
  );
}

/** Sizes may contradict what the model computes with them: the graph then stays as it is. */
function atSizes(graph: Graph, sizes: ReadonlyMap<string, number>): Graph {
  try {
    return withSizes(graph, sizes);
  } catch (error) {
    if (error instanceof FrostbitError) return graph;
    throw error;
  }
}

const quantizeOps: ReadonlySet<string> = new Set(["QuantizeLinear", "DequantizeLinear"]);

function parametersOf(graph: Graph): number {
  const quantizers = graph.nodes.filter(({ op }) => quantizeOps.has(op));
  const scales = new Set(quantizers.flatMap(({ inputs }) => inputs.slice(1)));
  const integers = new Set(quantizers.filter(isDequantizer).map(({ inputs }) => inputs[0]));
  return [...graph.constants]
    .filter(([name, { dtype }]) => integers.has(name) || (isFloat(dtype) && !scales.has(name)))
    .reduce((sum, [, { shape }]) => sum + sizeOf(shape), 0);
}

function learnedConstants(graph: Graph): LearnedConstant[] {
  return trainedParameters(graph).flatMap(({ name, role }) => {
    const value = graph.constants.get(name);
    if (!value || (role !== "vector" && role !== "table")) return [];
    return [{ name, shape: value.shape, parameters: sizeOf(value.shape), trainsIn: methodsThatTrain(role) }];
  });
}

const methodsThatTrain = (role: ParameterRole): readonly string[] =>
  methods.filter(({ training }) => training !== "none" && training.roles.includes(role)).map(({ name }) => name);

function quantizedLayers(graph: Graph, costs: Costs): QuantizedLayer[] {
  const producerOf = producers(graph);
  return graph.nodes.flatMap((node) => {
    if (!isLinear(node)) return [];
    const integers = dequantizerOf(graph, producerOf, node.inputs[1])?.inputs[0] ?? "";
    const weight = graph.constants.get(integers);
    if (!weight) return [];
    const at = integers.lastIndexOf(".weight");
    return [
      {
        name: at > 0 ? integers.slice(0, at) : node.name,
        node: node.name,
        op: node.op,
        weightShape: weight.shape,
        parameters: sizeOf(weight.shape),
        dtype: weight.dtype,
        bits: bitsOf(weight),
        sizeBytes: bytesOf(weight),
        multiplyAdds: costs.get(node.name) ?? null,
      },
    ];
  });
}

/** The fewest bits, two's complement where the type is signed, that hold all values. */
function bitsOf(weight: Tensor): number {
  let [low, high] = [0, 0];
  for (const value of numbersOf(weight)) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const magnitude = Math.ceil(Math.log2(Math.max(high + 1, -low, 1)));
  return Math.max(1, magnitude + (weight.dtype.startsWith("u") ? 0 : 1));
}

const bytesOf = ({ dtype, shape, fileBits }: Tensor): number =>
  fileBits === undefined ? packedBytes(dtype, sizeOf(shape)) : Math.ceil((fileBits * sizeOf(shape)) / 8);

function inspectValue(graph: Graph, name: string): InspectedValue {
  const type = graph.values.get(name);
  return { name, dtype: type?.dtype ?? "unknown", shape: type?.shape ?? [] };
}

function inspectLayer(graph: Graph, layer: LinearLayer, costs: Costs, reached: ReadonlySet<string>): InspectedLayer[] {
  const constant = graph.constants.get(layer.weight);
  if (!constant) return [];
  const weight = loaded(constant);
  return [
    {
      name: layer.name,
      node: layer.node.name,
      op: layer.node.op,
      weightShape: weight.shape,
      parameters: sizeOf(weight.shape),
      sizeBytes: bytesOf(weight),
      multiplyAdds: costs.get(layer.node.name) ?? null,
      importance: [...importanceOfRows(weight, layer.rowAxis)],
      weights: histogramOf(weight),
      rounding: roundingOf(weight, layer.rowAxis),
      canTrain: reached.has(layer.node.name),
    },
  ];
}

const roundedTo = [8, 4, 2] as const;

/** Of a weight whose rows lie side by side, of how many elements rounding is measured, or somewhat more. */
const roundedWeights = 2 ** 17;

/** Σ w² / Σ (w − ŵ)² in dB, ŵ rounded symmetrically with max|w| of its row as the highest. */
function roundingOf(weight: Tensor, rowAxis: number): InspectedLayer["rounding"] {
  const largest = largestOfRows(weight, rowAxis);
  return roundedTo.map((bits) => {
    const { high } = boundsOf(bits, true);
    const scales = Float64Array.from(largest, (value) => (value > 0 ? value / high : 1));
    return { bits, sqnrDb: reportedDb(sqnrDb({ ...roundingNoise(weight, rowAxis, scales), largest: 0 })) };
  });
}

/** In loops of its own: a call for each weight would take most of the time that a large model is inspected in. */
function roundingNoise(
  weight: Tensor,
  rowAxis: number,
  scales: Float64Array,
): { readonly signal: number; readonly noise: number } {
  const data = numbersOf(weight);
  const rows = scales.length;
  const inner = sizeOf(weight.shape.slice(rowAxis + 1));
  const inverse = scales.map((scale) => 1 / scale);
  const every = rows * inner;
  const step = every * Math.max(1, Math.floor(data.length / Math.max(every, roundedWeights)));
  let [signal, noise] = [0, 0];
  for (let start = 0; start < data.length; start += step)
    for (let row = 0, i = start; row < rows; row++)
      for (const end = i + inner; i < end; i++) {
        const value = data[i];
        const away = value - Math.floor(value * inverse[row] + 0.5) * scales[row];
        signal += value * value;
        noise += away * away;
      }
  return { signal, noise };
}

function countOperators(graph: Graph, costs: Costs): Inspection["operators"] {
  const counts = new Map<string, { count: number; multiplyAdds: number | null }>();
  for (const node of graph.nodes) {
    const entry = counts.get(node.op) ?? { count: 0, multiplyAdds: 0 };
    const cost = costs.get(node.name) ?? null;
    const multiplyAdds = cost === null || entry.multiplyAdds === null ? null : entry.multiplyAdds + cost;
    counts.set(node.op, { count: entry.count + 1, multiplyAdds });
  }
  const order = (count: number | null): number => count ?? Number.POSITIVE_INFINITY;
  return [...counts]
    .map(([op, entry]) => ({ op, ...entry }))
    .sort((a, b) => (a.multiplyAdds === b.multiplyAdds ? 0 : order(b.multiplyAdds) - order(a.multiplyAdds)));
}

function refusedProducts(
  graph: Graph,
  layers: readonly LinearLayer[],
  alreadyQuantized: ReadonlySet<string>,
): Refusal[] {
  const accepted = new Set([...alreadyQuantized, ...layers.map(({ node }) => node.name)]);
  const around = { graph, producerOf: producers(graph), quantizedWeights: new Set(layers.map(({ weight }) => weight)) };
  return graph.nodes
    .filter((node) => isLinear(node) && !accepted.has(node.name))
    .map((node) => ({ node: node.name, op: node.op, reason: reasonAgainst(node, around) }));
}

interface Around {
  readonly graph: Graph;
  readonly producerOf: ReadonlyMap<string, Node>;
  readonly quantizedWeights: ReadonlySet<string>;
}

function reasonAgainst(node: Node, { graph, producerOf, quantizedWeights }: Around): string {
  const weight = node.inputs[1];
  const type = graph.values.get(weight);
  if (!graph.constants.has(weight)) return `its second input "${weight}" is computed, not a constant weight`;
  if (type && !/^float(32|64)$/.test(type.dtype)) return `its weight "${weight}" is ${type.dtype}, not float`;
  const bias = node.inputs[2] ?? "";
  if (bias !== "" && !graph.constants.has(bias)) return `its third input "${bias}" is computed, not a constant bias`;
  if (quantizedWeights.has(weight)) return `another layer reads its weight "${weight}" transposed`;
  const filter = fixedFilter(node, graph.constants.get(weight), producerOf);
  if (filter !== undefined) return `its weight "${weight}" is no learned one: ${filter}`;
  const obstacle = rowsObstacle(node, type?.shape ?? []);
  assert(obstacle, `${describeNode(node)} is refused for no reason`);
  return obstacle;
}

/** Nodes that a gradient of an output reaches. */
function differentiableNodes(graph: Graph): ReadonlySet<string> {
  const producerOf = producers(graph);
  const reached = new Set<string>();
  const pending = [...graph.outputs];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    const node = producerOf.get(value);
    if (!node || reached.has(node.name) || hasNoGradient(node)) continue;
    reached.add(node.name);
    for (const input of node.inputs) if (isFloat(graph.values.get(input)?.dtype ?? "int64")) pending.push(input);
  }
  return reached;
}

const hasNoGradient = (node: Node): boolean => opDefinition(node.op)?.gradient === "none";

/** Operators without a gradient that read what a layer that cannot train gives; arithmetic on shapes stops nothing. */
function blockersOf(graph: Graph, stuck: readonly LinearLayer[]): Refusal[] {
  const downstream = new Set(stuck.flatMap(({ node }) => node.outputs));
  const blockers: Refusal[] = [];
  for (const node of graph.nodes) {
    if (!node.inputs.some((input) => downstream.has(input))) continue;
    for (const output of node.outputs) downstream.add(output);
    const isShapeArithmetic = graph.values.get(node.outputs[0])?.elements !== undefined;
    if (hasNoGradient(node) && !isShapeArithmetic)
      blockers.push({ node: node.name, op: node.op, reason: `${describeNode(node)} has no gradient` });
  }
  return blockers;
}
