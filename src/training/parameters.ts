// What can be trained in a graph, by role.
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { type LinearLayer, linearLayers } from "../quantizers/linear-layers.ts";
import { isQuantizer, quantizersOf } from "../quantizers/quantizer.ts";
import { type LearnedForm, learnedConstants } from "./learned-constants.ts";

/**
 * weight: rows that EfQAT freezes. weight-scale, weight-zero-point: frozen with its weight's rows. table: frozen by EfQAT whole. The others always
 * train. input-scale, input-zero-point: qparams of activations. vector, table: constants that are learned in other places.
 */
export type ParameterRole =
  | "weight"
  | "weight-scale"
  | "weight-zero-point"
  | "input-scale"
  | "input-zero-point"
  | "bias"
  | "norm"
  | LearnedForm;

export interface Parameter {
  readonly name: string;
  readonly role: ParameterRole;
  /** The layer whose rows this parameter belongs to, for weights, their scales and zero points. */
  readonly layer?: LinearLayer;
}

const normalizations = new Set([
  "BatchNormalization",
  "BatchNormalizationTraining",
  "LayerNormalization",
  "InstanceNormalization",
  "GroupNormalization",
  "RMSNormalization",
]);

/** The constants that normalizations multiply by and add. */
export const normsOf = (graph: Graph): readonly string[] => [
  ...new Set(
    graph.nodes
      .filter(({ op }) => normalizations.has(op))
      .flatMap(({ inputs }) => inputs.slice(1, 3).filter((input) => graph.constants.has(input))),
  ),
];

/** Every parameter once, in the order of the nodes that read them. Constants and variables count alike. */
export function parametersOf(graph: Graph): readonly Parameter[] {
  const parameters = new Map<string, Parameter>();
  const holds = (name: string | undefined): name is string =>
    name !== undefined && (graph.constants.has(name) || graph.variables.includes(name));
  const add = (name: string | undefined, role: ParameterRole, layer?: LinearLayer): void => {
    if (holds(name) && !parameters.has(name)) parameters.set(name, { name, role, ...(layer ? { layer } : {}) });
  };
  const layers = new Map(linearLayers(graph).map((layer) => [layer.node.name, layer]));
  const layerOfWeight = new Map([...layers.values()].map((layer) => [layer.weight, layer]));
  for (const quantizer of quantizersOf(graph)) {
    const layer = layerOfWeight.get(quantizer.value);
    add(quantizer.scale, layer ? "weight-scale" : "input-scale", layer);
    add(quantizer.zeroPoint, layer ? "weight-zero-point" : "input-zero-point", layer);
  }
  const producerOf = producers(graph);
  for (const node of graph.nodes) {
    const layer = layers.get(node.name);
    if (layer) add(layer.weight, "weight", layer);
    if (layer?.takesBias) add(node.inputs[2], "bias");
    if (normalizations.has(node.op)) for (const input of node.inputs.slice(1, 3)) add(input, "norm");
    if (node.op === "Add") for (const name of biasesOfAddition(graph, node, producerOf, layers)) add(name, "bias");
  }
  for (const [name, form] of learnedConstants(graph, new Set(parameters.keys()))) add(name, form);
  return [...parameters.values()];
}

/** Parameters that a plan may freeze whole, besides the weights of layers. */
export const tablesOf = (graph: Graph): readonly string[] =>
  parametersOf(graph).flatMap(({ name, role }) => (role === "table" ? [name] : []));

/** A vector added to what a linear layer gives, quantized or not, is its bias. */
function biasesOfAddition(
  graph: Graph,
  node: Node,
  producerOf: ReadonlyMap<string, Node>,
  layers: ReadonlyMap<string, LinearLayer>,
): readonly string[] {
  return node.inputs.filter((input, i) => {
    const shape = graph.values.get(input)?.shape ?? [];
    const maker = producerOf.get(node.inputs[1 - i]);
    const other = isQuantizer(maker) ? producerOf.get(maker.inputs[0]) : maker;
    return other !== undefined && layers.has(other.name) && shape.filter((size) => size !== 1).length === 1;
  });
}
