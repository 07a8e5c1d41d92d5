// The nodes of a graph that depend on a linear layer: those that quantizing the layers changes.
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";

export interface Stream {
  /** In topological order; linear layers among them. */
  readonly nodes: ReadonlySet<Node>;
  /** Names of the linear layers, by node, in the order of the nodes. */
  readonly layers: ReadonlyMap<Node, string>;
  /** The nodes of the stream that make a node's inputs, each once. */
  readonly producersOf: (node: Node) => readonly Node[];
  /** The values outside the stream that layers work on, and what those are computed from: data, other than masks and shapes. */
  readonly data: ReadonlySet<string>;
}

/** By node of the stream, the index of its unit. */
export type UnitOfNode = ReadonlyMap<Node, number>;

export function streamOf(graph: Graph): Stream {
  const layers = new Map(linearLayers(graph).map((layer) => [layer.node, layer.name]));
  const makers = producers(graph);
  const nodes = new Set<Node>();
  const made = (node: Node): readonly Node[] => {
    const found = node.inputs.map((input) => makers.get(input));
    return [...new Set(found)].filter((maker): maker is Node => maker !== undefined && nodes.has(maker));
  };
  for (const node of graph.nodes) if (layers.has(node) || made(node).length > 0) nodes.add(node);
  const data = new Set<string>();
  const addData = (value: string): void => {
    const maker = makers.get(value);
    if (data.has(value) || graph.constants.has(value) || (maker && nodes.has(maker))) return;
    data.add(value);
    maker?.inputs.forEach(addData);
  };
  for (const node of layers.keys()) addData(node.inputs[0]);
  return { nodes, layers, producersOf: made, data };
}
