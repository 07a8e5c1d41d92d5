// Names of what quantization adds to a file: in a small network they take more bytes than its weights.
import type { Graph, Node } from "../ir/graph.ts";
import { uniqueNames } from "../ir/unique-names.ts";
import type { Folded } from "./fold.ts";
import { quantizersOf } from "./quantizer.ts";

/**
 * The folded graph in which values and nodes that the model does not have are named by a letter and a number, but for integers of
 * weights that layers are named after. `trained`: what was folded.
 */
export function withShortNames(folded: Folded, trained: Graph): Folded {
  const { graph, layers } = folded;
  const own = ownNames(trained);
  const names = [...graph.values.keys(), ...graph.nodes.map(({ name }) => name)];
  const unique = uniqueNames(names.filter((name) => own.values.has(name) || own.nodes.has(name)));
  const renamed = new Map<string, string>();
  for (const { name, node, integers } of layers)
    if (name !== node && !renamed.has(integers)) renamed.set(integers, unique(`${name}.weight`));
  const next = counted(unique);
  const rename = (name: string): string => {
    if (name === "" || own.values.has(name)) return name;
    const found = renamed.get(name) ?? next();
    renamed.set(name, found);
    return found;
  };
  const keyed = <T>(entries: ReadonlyMap<string, T>): Map<string, T> =>
    new Map([...entries].map(([name, value]) => [rename(name), value]));
  /** A node and a value of one name are two things. */
  const nodeNames = new Map<string, string>();
  const nodes = graph.nodes.map((node): Node => {
    const outputs = node.outputs.map(rename);
    const name = own.nodes.has(node.name) ? node.name : own.values.has(outputs[0]) ? next() : outputs[0];
    nodeNames.set(node.name, name);
    return { ...node, name, inputs: node.inputs.map(rename), outputs };
  });
  return {
    ...folded,
    graph: { ...graph, nodes, values: keyed(graph.values), constants: keyed(graph.constants) },
    layers: layers.map((layer) => ({
      ...layer,
      integers: rename(layer.integers),
      zeroPoint: rename(layer.zeroPoint),
      node: nodeNames.get(layer.node) ?? layer.node,
      output: rename(layer.output),
    })),
  };
}

interface OwnNames {
  readonly values: ReadonlySet<string>;
  readonly nodes: ReadonlySet<string>;
}

/** Of the model's values and nodes: all but those of quantizers, what they give and what they are told. */
function ownNames(trained: Graph): OwnNames {
  const values = new Set(trained.values.keys());
  const nodes = new Set(trained.nodes.map(({ name }) => name));
  for (const { node, value, output } of quantizersOf(trained)) {
    nodes.delete(node.name);
    for (const name of [output, ...node.inputs]) if (name !== value) values.delete(name);
  }
  for (const name of [...trained.inputs, ...trained.outputs]) values.add(name);
  return { values, nodes };
}

function counted(unique: (hint: string) => string): () => string {
  let count = 0;
  return () => {
    count += 1;
    return unique(`v${count}`);
  };
}
