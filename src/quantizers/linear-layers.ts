// The layers that can be quantized and whose rows EfQAT freezes: products with a constant weight.
import { type Graph, type Node, producers } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { uniqueNames } from "../ir/unique-names.ts";
import { groupOf } from "../ops/convolution-shape.ts";
import {
  biasFactorOf,
  channelAxisOf,
  channelsPerRow,
  isBiasOfChannels,
  rowsObstacle,
  takesBias,
  weightAxesOf,
} from "../ops/linear.ts";
import { fixedFilter } from "./fixed-filters.ts";
import { isQuantizer } from "./quantizer.ts";

export interface LinearLayer {
  /** The weight's name without ".weight", or the node's name; unique in the graph. */
  readonly name: string;
  readonly node: Node;
  /** The value that enters the layer. */
  readonly input: string;
  /** The constant or variable that holds the weight, behind its quantizer if it has one. */
  readonly weight: string;
  /** The weight's output channels: 0 for Conv and transposed Gemm, 1 for MatMul, Gemm and ConvTranspose that is not depthwise. */
  readonly rowAxis: number;
  /** The axis of the weight's input channels; groups are along it. */
  readonly inputAxis: number;
  /** The axis of the layer's output channels. */
  readonly channelAxis: number;
  /** How many output channels share a row: 1 but for transposed convolutions in groups. */
  readonly channelsPerRow: number;
  /** "" where the layer has none. */
  readonly bias: string;
  /** Whether the node itself can add a bias. */
  readonly takesBias: boolean;
  /** What the node multiplies its bias by. */
  readonly biasFactor: number;
}

function isQuantizable(graph: Graph, node: Node, weight: string): boolean {
  const type = graph.values.get(weight);
  return type !== undefined && /^float(32|64)$/.test(type.dtype) && rowsObstacle(node, type.shape) === undefined;
}

/**
 * In the order of the nodes. Left out are products that read another's weight transposed, since its rows would be along two
 * axes, those whose bias is computed, and filters that nobody learned.
 */
export function linearLayers(graph: Graph): readonly LinearLayer[] {
  const producerOf = producers(graph);
  const parameters = new Set([...graph.constants.keys(), ...graph.variables]);
  const behindQuantizer = (value: string): string => {
    const node = producerOf.get(value);
    return isQuantizer(node) ? node.inputs[0] : value;
  };
  const names = new Set<string>();
  const unique = uniqueNames();
  const axes = new Map<string, number>();
  return graph.nodes.flatMap((node) => {
    const weight = behindQuantizer(node.inputs[1] ?? "");
    const weightShape = graph.values.get(weight)?.shape ?? [];
    const weightAxes = weightAxesOf(node, weightShape);
    if (weightAxes === undefined) return [];
    const { rows: rowAxis, inputs: inputAxis } = weightAxes;
    const bias = node.inputs[2] ?? "";
    if (!parameters.has(weight) || !isQuantizable(graph, node, weight)) return [];
    if (fixedFilter(node, graph.constants.get(weight), producerOf) !== undefined) return [];
    const biasShape = graph.values.get(bias)?.shape ?? [];
    if (bias !== "" && !(parameters.has(bias) && isBiasOfChannels(biasShape))) return [];
    if ((axes.get(weight) ?? rowAxis) !== rowAxis) return [];
    axes.set(weight, rowAxis);
    const stem = weight.endsWith(".weight") ? weight.slice(0, -".weight".length) : node.name;
    const name = unique(names.has(stem) ? node.name : stem);
    names.add(name);
    const rank = graph.values.get(node.outputs[0])?.shape.length ?? 2;
    return [
      {
        name,
        node,
        input: behindQuantizer(node.inputs[0]),
        weight,
        bias,
        rowAxis,
        inputAxis,
        channelAxis: channelAxisOf(node, rank),
        channelsPerRow: channelsPerRow(node, weightShape),
        takesBias: takesBias(node),
        biasFactor: biasFactorOf(node),
      },
    ];
  });
}

/** The layers, each weight once: several layers may share one. */
export function layersByWeight(graph: Graph): readonly LinearLayer[] {
  const seen = new Set<string>();
  return linearLayers(graph).filter(({ weight }) => !seen.has(weight) && seen.add(weight));
}

/** The values of the layers' weights that are constants. */
export function weightsOf(graph: Graph): ReadonlyMap<string, Tensor> {
  const weights = new Map<string, Tensor>();
  for (const { weight } of layersByWeight(graph)) {
    const value = graph.constants.get(weight);
    if (value) weights.set(weight, value);
  }
  return weights;
}

/** The node that alone reads a value, if there is just one and the value is not an output of the graph. */
export function onlyReader(
  graph: Graph,
  readers: ReadonlyMap<string, readonly Node[]>,
  value: string,
): Node | undefined {
  const list = readers.get(value) ?? [];
  return list.length === 1 && !graph.outputs.includes(value) ? list[0] : undefined;
}

/** The normalization that alone reads a layer and folds into it. */
export function foldedNormalization(
  graph: Graph,
  readers: ReadonlyMap<string, readonly Node[]>,
  { node, channelAxis, channelsPerRow }: LinearLayer,
): Node | undefined {
  const next = onlyReader(graph, readers, node.outputs[0]);
  const isNext =
    next?.op === "BatchNormalization" &&
    next.inputs[0] === node.outputs[0] &&
    channelAxis === 1 &&
    channelsPerRow === 1;
  return isNext && next.inputs.slice(1, 5).every((name) => graph.constants.has(name)) ? next : undefined;
}

/** Whether each of its rows sees one channel alone. */
export function isDepthwise({ values }: Graph, { node, weight }: LinearLayer): boolean {
  const [rows, inputs] = values.get(weight)?.shape ?? [];
  return rows !== 1 && inputs === 1 && node.op.startsWith("Conv") && groupOf(node) === rows;
}
