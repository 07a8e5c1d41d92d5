// Where quantizers go: a site is a value, which of its readers get the quantized one, and how it is quantized.
import { FrostbitError } from "../ir/errors.ts";
import { consumers, type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf } from "../ir/tensor.ts";
import type { Granularity } from "../ops/granularity.ts";
import { type LinearLayer, linearLayers, onlyReader } from "./linear-layers.ts";
import { bitsOfLayer, isAsymmetric, matchesPattern, type QuantizeOptions } from "./quantize-options.ts";
import { isQuantizer } from "./quantizer.ts";

export interface Site {
  /** Prefix of the names of this quantizer's qparams: `<name>_scale`, `<name>_zero_point`. */
  readonly name: string;
  readonly value: string;
  /** Names of the nodes that read the quantized value; "all" readers, outputs of the graph left out. */
  readonly readers: readonly string[] | "all";
  readonly bits: number;
  readonly symmetric: boolean;
  readonly granularity: Granularity;
  /** A value of the same range whose qparams this site shares. */
  readonly sameAs?: string;
}

export interface Sites {
  readonly weights: readonly Site[];
  readonly activations: readonly Site[];
}

export function findSites(graph: Graph, options: QuantizeOptions): Sites {
  const layers = linearLayers(graph);
  checkPatterns(layers, options);
  const quantized = layers.filter((layer) => bitsOfLayer(options, layer.name) !== undefined);
  const activations =
    options.placement === "inputs" ? inputSites(quantized, options) : runtimeSites(graph, quantized, options);
  return { weights: weightSites(graph, quantized, options), activations };
}

/** One per weight and bits: what else reads the weight reads it in float. */
function weightSites(graph: Graph, layers: readonly LinearLayer[], options: QuantizeOptions): readonly Site[] {
  const groups = new Map<string, LinearLayer[]>();
  for (const layer of layers) {
    const key = `${bitsOf(layer, options).weights}:${layer.weight}`;
    groups.set(key, [...(groups.get(key) ?? []), layer]);
  }
  return [...groups.values()].map((sharing) => weightSite(graph, sharing, options));
}

function checkPatterns(layers: readonly LinearLayer[], options: QuantizeOptions): void {
  for (const pattern of Object.keys(options.layers)) {
    if (layers.some((layer) => matchesPattern(pattern, layer.name))) continue;
    const names = layers.map((layer) => layer.name);
    throw new FrostbitError(
      "BAD_OPTION",
      `layers: "${pattern}" matches no layer. The layers are ${names.slice(0, 30).join(", ")}${names.length > 30 ? ", …" : ""}.`,
    );
  }
}

function bitsOf(layer: LinearLayer, options: QuantizeOptions): { weights: number; activations: number } {
  return bitsOfLayer(options, layer.name) ?? options;
}

/** Inputs that make no more than one group have one scale per row. */
function granularityOfWeight(
  graph: Graph,
  { weight, rowAxis, inputAxis }: LinearLayer,
  { groupSize }: QuantizeOptions,
): Granularity {
  const inputs = Number(graph.values.get(weight)?.shape[inputAxis]);
  return groupSize === "whole" || inputs <= groupSize ? { axis: rowAxis } : { axis: inputAxis, groupSize };
}

function weightSite(graph: Graph, sharing: readonly LinearLayer[], options: QuantizeOptions): Site {
  const [first] = sharing;
  const { weights: bits } = bitsOf(first, options);
  return {
    name: `${first.name}.weight`,
    value: first.weight,
    readers: sharing.map(({ node }) => node.name),
    bits,
    symmetric: !isAsymmetric(options, bits),
    granularity: granularityOfWeight(graph, first, options),
  };
}

/** Placement `inputs`: each linear layer has its own quantizer on its input, as the papers do. */
const inputSites = (layers: readonly LinearLayer[], options: QuantizeOptions): Site[] =>
  layers.map((layer) => ({
    name: `${layer.name}.input`,
    value: layer.input,
    readers: [layer.node.name],
    bits: bitsOf(layer, options).activations,
    symmetric: options.symmetricActivations,
    granularity: "tensor",
  }));

/** Operators that ONNX Runtime runs on integers when what they read and write is quantized. */
const integerOps = new Set(["Add", "Mul", "Concat", "GlobalAveragePool", "AveragePool", "Sigmoid", "LeakyRelu"]);
/** Operators that move values without changing them: both sides share one range. */
const movingOps = new Set([
  "MaxPool",
  "Reshape",
  "Flatten",
  "Squeeze",
  "Unsqueeze",
  "Transpose",
  "Slice",
  "Pad",
  "Split",
  "Identity",
  "DepthToSpace",
]);
/** A sum that Softmax alone reads is of scores and a mask, whose −10000 would take the whole range. */
const isMasked = (readers: ReadonlyMap<string, readonly Node[]>, node: Node): boolean => {
  const next = readers.get(node.outputs[0]) ?? [];
  return node.op === "Add" && next.length > 0 && next.every(({ op }) => op === "Softmax");
};

/** Padding with anything but 0 adds a value that the range need not hold. */
function movesValues(graph: Graph, node: Node): boolean {
  if (node.op !== "Pad" || !node.inputs[2]) return movingOps.has(node.op);
  const padding = graph.constants.get(node.inputs[2]);
  return padding !== undefined && numbersOf(padding).every((value) => value === 0);
}

/** What is computed in the same kernel as the operator before it: no quantizer between them. */
const fusedOps = new Set(["BatchNormalization", "Relu", "Clip"]);

/** Placement `runtime`: one quantizer per value, on every value that an integer kernel reads or writes. */
function runtimeSites(graph: Graph, layers: readonly LinearLayer[], options: QuantizeOptions): Site[] {
  const producerOf = producers(graph);
  const readers = consumers(graph);
  const layerOf = new Map(layers.map((layer) => [layer.node.name, layer]));
  const chosen = new Map<string, number>();
  const choose = (value: string, bits: number): void => {
    chosen.set(value, Math.max(chosen.get(value) ?? 0, bits));
  };
  const isActivation = (value: string): boolean =>
    value !== "" && !graph.constants.has(value) && /^float(32|64)$/.test(graph.values.get(value)?.dtype ?? "");
  for (const node of graph.nodes) {
    const layer = layerOf.get(node.name);
    if (layer) {
      choose(layer.input, bitsOf(layer, options).activations);
      choose(endOfFusion(graph, readers, node), bitsOf(layer, options).activations);
    } else if (integerOps.has(node.op) && node.inputs.every(isActivation) && !isMasked(readers, node)) {
      for (const input of node.inputs) choose(input, options.activations);
      choose(endOfFusion(graph, readers, node), options.activations);
    } else if (movesValues(graph, node) && chosen.has(node.inputs[0])) {
      const outputs = node.outputs.filter(isActivation);
      for (const output of outputs) choose(output, chosen.get(node.inputs[0]) ?? 8);
    }
  }
  /** The value of the same bits that a chain of moving operators starts from; 0, which pads, is inside every range. */
  const rangeSource = (value: string): string => {
    const node = producerOf.get(value);
    const isSame = node && movesValues(graph, node) && chosen.get(node.inputs[0]) === chosen.get(value);
    return isSame ? rangeSource(node.inputs[0]) : value;
  };
  const isRead = (value: string): boolean => (readers.get(value)?.length ?? 0) > 0;
  return [...chosen]
    .filter(([value]) => isRead(value))
    .map(([value, bits]) => valueSite(value, bits, rangeSource(value), options.symmetricActivations));
}

const valueSite = (value: string, bits: number, source: string, symmetric: boolean): Site => ({
  name: value,
  value,
  readers: "all",
  bits,
  symmetric,
  granularity: "tensor",
  ...(source === value ? {} : { sameAs: source }),
});

/** The value after the normalization and activation that alone read this node's output. */
function endOfFusion(graph: Graph, readers: ReadonlyMap<string, readonly Node[]>, node: Node): string {
  const value = node.outputs[0];
  const next = onlyReader(graph, readers, value);
  return next && fusedOps.has(next.op) && next.inputs[0] === value ? endOfFusion(graph, readers, next) : value;
}

/** The sites whose values no quantizer of the graph quantizes yet. */
export function withoutQuantized(graph: Graph, sites: Sites): Sites {
  const quantized = new Set(graph.nodes.filter(isQuantizer).flatMap((node) => [node.inputs[0], node.outputs[0]]));
  const isOpen = ({ value }: Site): boolean => !quantized.has(value);
  const activations = sites.activations.filter(isOpen);
  const named = new Set(activations.map(({ value }) => value));
  const standsAlone = ({ sameAs, ...site }: Site): Site =>
    sameAs !== undefined && named.has(sameAs) ? { ...site, sameAs } : site;
  return { weights: sites.weights.filter(isOpen), activations: activations.map(standsAlone) };
}
