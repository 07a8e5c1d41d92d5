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
  const names = namesIn(graph);
  const unique = uniqueNames([...names].filter((name) => own.has(name)));
  const renamed = new Map<string, string>();
  for (const { name, node, integers } of layers)
    if (name !== node && !renamed.has(integers)) renamed.set(integers, unique(`${name}.weight`));
  const next = counted(unique);
  const rename = (name: string): string => {
    if (name === "" || own.has(name)) return name;
    const found = renamed.get(name) ?? next();
    renamed.set(name, found);
    return found;
  };
  const keyed = <T>(entries: ReadonlyMap<string, T>): Map<string, T> =>
    new Map([...entries].map(([name, value]) => [rename(name), value]));
  const nodes = graph.nodes.map((node): Node => {
    const outputs = node.outputs.map(rename);
    const name = own.has(node.name) || own.has(outputs[0]) ? rename(node.name) : outputs[0];
    renamed.set(node.name, name);
    return { ...node, name, inputs: node.inputs.map(rename), outputs };
  });
  return {
    ...folded,
    graph: { ...graph, nodes, values: keyed(graph.values), constants: keyed(graph.constants) },
    layers: layers.map((layer) => ({
      ...layer,
      integers: rename(layer.integers),
      zeroPoint: rename(layer.zeroPoint),
      node: rename(layer.node),
      output: rename(layer.output),
    })),
  };
}

/** Of the model's values and nodes: all but those of quantizers, what they give and what they are told. */
function ownNames(trained: Graph): ReadonlySet<string> {
  const own = namesIn(trained);
  for (const { node, value, output } of quantizersOf(trained))
    for (const name of [node.name, output, ...node.inputs]) if (name !== value) own.delete(name);
  return new Set([...own, ...trained.inputs, ...trained.outputs]);
}

function namesIn({ values, nodes }: Graph): Set<string> {
  return new Set([...values.keys(), ...nodes.map(({ name }) => name)]);
}

function counted(unique: (hint: string) => string): () => string {
  let count = 0;
  return () => {
    count += 1;
    return unique(`v${count}`);
  };
}
