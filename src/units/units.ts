// Cuts a network into units that are optimized one after the other: its layers, its blocks, or all of it.
import { FrostbitError } from "../ir/errors.ts";
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { uniqueNames } from "../ir/unique-names.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { isQuantizer } from "../quantizers/quantizer.ts";
import { unitOfNodeByBlock } from "./blocks.ts";
import { unitOfNodeByPart } from "./parts.ts";
import { type Stream, streamOf, type UnitOfNode } from "./stream.ts";

/**
 * layer: a linear layer, with what follows it alone and keeps its shape. block: the nodes from one value through which everything
 * flows to the next such value. part: blocks that follow each other in one numbered part of the network, by their layers' names, as
 * a decoder's "model.layers.3"; without what comes behind the last layer's block. network: everything.
 */
export type UnitKind = "layer" | "block" | "part" | "network";
export const unitKinds = ["layer", "block", "part", "network"] as const satisfies readonly UnitKind[];

/** What `cutUnit(graph, unit.inputs, unit.outputs)` cuts out, of the float graph and of the quantized one alike. */
export interface Unit {
  /** Of its layer, or what the names of its layers have in common. */
  readonly name: string;
  /** Outputs of units before it, then inputs of the graph. */
  readonly inputs: readonly string[];
  /** What later units read, and outputs of the graph. */
  readonly outputs: readonly string[];
  /** The outputs that depend on a layer of the unit: they are compared with the float unit's. */
  readonly targets: readonly string[];
  /** Names of linear layers, in the order of the nodes. */
  readonly layers: readonly string[];
}

/**
 * Units in an order in which they can run: each reads inputs of the graph and outputs of units before it. Every layer is in
 * one of them, and together they give what the graph gives, or what its last part works on. Values that depend on no layer, such as a mask made from an input, belong
 * to no unit: every unit that reads one computes it from the graph's inputs. Throws BAD_MODEL where there is no layer.
 */
export function cutIntoUnits(graph: Graph, kind: UnitKind): readonly Unit[] {
  // Shapes are constants once the batch is a number, and tie no node to another's.
  const sized = setBatchSize(graph, 2);
  const stream = streamOf(sized);
  if (stream.layers.size === 0)
    throw new FrostbitError("BAD_MODEL", `"${graph.name}" has no linear layer, so that there is no unit to optimize.`);
  const unitOfNode = unitsOfNodes[kind](sized, stream);
  const unique = uniqueNames();
  const edges = edgesOf(sized, stream, unitOfNode);
  return nodesByUnit(stream, unitOfNode).map((nodes, index) => {
    const layers = nodes.flatMap((node) => stream.layers.get(node) ?? []);
    const name = kind === "network" ? "network" : unique(commonName(layers));
    return { name, layers, ...edges(nodes, index) };
  });
}

/** Without the nodes behind the last part, which belong to none. */
function nodesByUnit({ nodes }: Stream, unitOfNode: UnitOfNode): readonly (readonly Node[])[] {
  const units: Node[][] = [];
  for (const node of nodes) {
    const unit = unitOfNode.get(node);
    if (unit === undefined) continue;
    units[unit] ??= [];
    units[unit].push(node);
  }
  return units;
}

const unitsOfNodes: Readonly<Record<UnitKind, (graph: Graph, stream: Stream) => UnitOfNode>> = {
  layer: unitOfNodeByLayer,
  block: unitOfNodeByBlock,
  part: unitOfNodeByPart,
  network: (_, { nodes }) => new Map([...nodes].map((node) => [node, 0])),
};

/** "layer1.0" of layer1.0.conv1 and layer1.0.conv2; the first name where nothing is in common. */
function commonName(layers: readonly string[]): string {
  const [first, ...rest] = layers.map((name) => name.split(/[./]/));
  const differs = first.findIndex((part, i) => rest.some((other) => other[i] !== part));
  const common = differs < 0 ? first : first.slice(0, differs);
  const length = common.join(".").length;
  return length === 0 ? layers[0] : layers[0].slice(0, length);
}

/** Each layer, with what is computed from it alone in its shape. Everything else belongs to the first layer that needs it. */
function unitOfNodeByLayer(graph: Graph, { nodes, layers, producersOf }: Stream): UnitOfNode {
  const units = new Map<Node, number>();
  const indexOf = new Map([...layers.keys()].map((node, index) => [node, index]));
  const shapeOf = (node: Node): string => String(graph.values.get(node.outputs[0])?.shape);
  for (const node of nodes) {
    const before = producersOf(node);
    const [unit] = before.map((producer) => units.get(producer));
    const follows = before.every((producer) => units.get(producer) === unit && shapeOf(producer) === shapeOf(node));
    const index = indexOf.get(node);
    if (index !== undefined) units.set(node, index);
    else if (unit !== undefined && follows && !isQuantizer(node)) units.set(node, unit);
  }
  const first = new Map<Node, number>();
  for (const node of [...nodes].reverse()) {
    const unit = units.get(node) ?? first.get(node);
    if (unit !== undefined && !units.has(node)) units.set(node, unit);
    if (unit !== undefined)
      for (const producer of producersOf(node)) first.set(producer, Math.min(unit, first.get(producer) ?? unit));
  }
  for (const node of nodes)
    if (!units.has(node)) units.set(node, Math.max(...producersOf(node).map((producer) => units.get(producer) ?? 0)));
  return units;
}

/** What enters a unit and what leaves it. */
function edgesOf(
  graph: Graph,
  { nodes, layers }: Stream,
  unitOfNode: UnitOfNode,
): (own: readonly Node[], index: number) => Pick<Unit, "inputs" | "outputs" | "targets"> {
  const producerOf = producers(graph);
  const inputsOfGraph = new Set(graph.inputs);
  const outputsOfGraph = new Set(graph.outputs);
  const readElsewhere = new Set<string>();
  for (const node of nodes)
    for (const input of node.inputs) {
      const producer = producerOf.get(input);
      if (producer && unitOfNode.get(producer) !== unitOfNode.get(node)) readElsewhere.add(input);
    }
  return (own, index) => {
    const entering = new Set<string>();
    const ofGraph = new Set<string>();
    const seen = new Set<string>();
    const enter = (value: string): void => {
      if (seen.has(value)) return;
      seen.add(value);
      const producer = producerOf.get(value);
      const unit = producer && unitOfNode.get(producer);
      if (unit === index) return;
      if (unit !== undefined) entering.add(value);
      else if (producer) producer.inputs.forEach(enter);
      else if (inputsOfGraph.has(value)) ofGraph.add(value);
    };
    const reached = new Set<string>();
    for (const node of own) {
      node.inputs.forEach(enter);
      if (!layers.has(node) && !node.inputs.some((input) => reached.has(input))) continue;
      for (const output of node.outputs) reached.add(output);
    }
    const outputs = own
      .flatMap((node) => node.outputs)
      .filter((value) => value !== "" && (readElsewhere.has(value) || outputsOfGraph.has(value)));
    return {
      inputs: [...entering, ...ofGraph],
      outputs,
      targets: outputs.filter((value) => reached.has(value)),
    };
  };
}
