// Attributes that say what their absence says: in the file of a small network they take bytes that count.
import type { Attribute, Graph, Node } from "../ir/graph.ts";

/** A number that is the default itself, or that all elements of a list are. */
type Defaults = Readonly<Record<string, number | string>>;

const window: Defaults = { auto_pad: "NOTSET", dilations: 1, pads: 0, strides: 1 };
const conv: Defaults = { ...window, group: 1 };
const pool: Defaults = { ...window, ceil_mode: 0 };

const defaults: Readonly<Record<string, Defaults>> = {
  AveragePool: { ...pool, count_include_pad: 0 },
  Conv: conv,
  ConvTranspose: { ...conv, output_padding: 0 },
  Gemm: { alpha: 1, beta: 1, transA: 0, transB: 0 },
  MaxPool: { ...pool, storage_order: 0 },
};

const says = (value: Attribute, expected: number | string): boolean =>
  Array.isArray(value) ? value.every((element) => element === expected) : value === expected;

export function dropDefaults(graph: Graph): Graph {
  const nodes = graph.nodes.map((node): Node => {
    const known = Object.hasOwn(defaults, node.op) ? defaults[node.op] : undefined;
    if (!known) return node;
    const told = Object.entries(node.attributes).filter(
      ([name, value]) => !(Object.hasOwn(known, name) && says(value, known[name])),
    );
    return { ...node, attributes: Object.fromEntries(told) };
  });
  return { ...graph, nodes };
}
