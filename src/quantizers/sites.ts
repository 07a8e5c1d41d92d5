// Where quantizers go: a site is a value, which of its readers get the quantized one, and how it is quantized.
import { FrostbitError } from "../ir/errors.ts";
import { consumers, type Graph, type Node, producers } from "../ir/graph.ts";
import { type LinearLayer, linearLayers, onlyReader } from "./linear-layers.ts";
import { bitsOfLayer, matchesPattern, type QuantizeOptions } from "./quantize-options.ts";

export interface Site {
  /** Prefix of the names of this quantizer's qparams: `<name>_scale`, `<name>_zero_point`. */
  readonly name: string;
  readonly value: string;
  /** Names of the nodes that read the quantized value; "all" readers, outputs of the graph left out. */
  readonly readers: readonly string[] | "all";
  readonly bits: number;
  readonly symmetric: boolean;
  readonly axis?: number;
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
  const weights = new Map<string, Site>();
  for (const layer of quantized) weights.set(layer.weight, weightSite(layer, options));
  const activations =
    options.placement === "inputs" ? inputSites(quantized, options) : runtimeSites(graph, quantized, options);
  return { weights: [...weights.values()], activations };
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

const weightSite = (layer: LinearLayer, options: QuantizeOptions): Site => ({
  name: `${layer.name}.weight`,
  value: layer.weight,
  readers: "all",
  bits: bitsOf(layer, options).weights,
  symmetric: true,
  axis: layer.rowAxis,
});

/** Placement `inputs`: each linear layer has a quantizer of its own on its input, as the papers do. */
const inputSites = (layers: readonly LinearLayer[], options: QuantizeOptions): Site[] =>
  layers.map((layer) => ({
    name: `${layer.name}.input`,
    value: layer.input,
    readers: [layer.node.name],
    bits: bitsOf(layer, options).activations,
    symmetric: false,
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
/** What is computed in the same kernel as the operator before it: no quantizer between them. */
const fusedOps = new Set(["BatchNormalization", "Relu", "Clip"]);

/** Placement `runtime`: one quantizer per value, on every value that an integer kernel reads or writes. */
function runtimeSites(graph: Graph, layers: readonly LinearLayer[], options: QuantizeOptions): Site[] {
  const made = producers(graph);
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
    } else if (integerOps.has(node.op) && node.inputs.every(isActivation)) {
      for (const input of node.inputs) choose(input, options.activations);
      choose(endOfFusion(graph, readers, node), options.activations);
    } else if (movingOps.has(node.op) && chosen.has(node.inputs[0]))
      choose(node.outputs[0], chosen.get(node.inputs[0]) ?? 8);
  }
  const isRead = (value: string): boolean => (readers.get(value)?.length ?? 0) > 0;
  return [...chosen].filter(([value]) => isRead(value)).map(([value, bits]) => valueSite(value, bits, made, chosen));
}

function valueSite(
  value: string,
  bits: number,
  made: ReadonlyMap<string, Node>,
  chosen: ReadonlyMap<string, number>,
): Site {
  const source = rangeSource(value, made, chosen);
  return {
    name: value,
    value,
    readers: "all",
    bits,
    symmetric: false,
    ...(source === value ? {} : { sameAs: source }),
  };
}

/** The value that a chain of moving operators starts from; zero padding stays inside every range, which includes 0. */
function rangeSource(value: string, made: ReadonlyMap<string, Node>, chosen: ReadonlyMap<string, number>): string {
  const node = made.get(value);
  if (!node || !movingOps.has(node.op) || !chosen.has(node.inputs[0])) return value;
  return rangeSource(node.inputs[0], made, chosen);
}

/** The value after the normalization and activation that alone read this node's output. */
function endOfFusion(graph: Graph, readers: ReadonlyMap<string, readonly Node[]>, node: Node): string {
  const value = node.outputs[0];
  const next = onlyReader(graph, readers, value);
  return next && fusedOps.has(next.op) && next.inputs[0] === value ? endOfFusion(graph, readers, next) : value;
}
