// Scales of int32 biases, each the product of two that the file has: a node that multiplies them takes fewer bytes than another scale
// for each channel. Runtimes compute it once, when they open the file.
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";

/** About how many channels' scales take what a node takes. */
const leastChannels = 8;

export function withProductsAsScales(graph: Graph): Graph {
  const producerOf = producers(graph);
  const unique = uniqueNamesIn(graph);
  /** The node that makes a bias's scale, before the one that reads it. */
  const added = new Map<string, Node>();
  for (const { inputs } of graph.nodes) {
    const [input, weight, bias] = inputs.map((value) => producerOf.get(value));
    if (![input, weight, bias].every((node) => node?.op === "DequantizeLinear")) continue;
    const [factor, scales, product] = [input, weight, bias].map((node) => node?.inputs[1] ?? "");
    if (!bias || added.has(bias.name) || !isProduct(graph, factor, scales, product)) continue;
    const name = unique(`${bias.outputs[0]}:s`);
    added.set(bias.name, { name, op: "Mul", inputs: [scales, factor], outputs: [name], attributes: {} });
  }
  if (added.size === 0) return graph;
  const nodes = graph.nodes.flatMap((node) => {
    const product = added.get(node.name);
    return product ? [product, { ...node, inputs: node.inputs.with(1, product.name) }] : [node];
  });
  return removeDeadNodes(inferTypes({ ...graph, nodes }));
}

/** Whether all are float32, and the third is what the runtime makes of the others. */
function isProduct({ constants }: Graph, factor: string, scales: string, product: string): boolean {
  const found = [factor, scales, product].map((name) => constants.get(name));
  if (!found.every((value): value is Tensor => value?.dtype === "float32")) return false;
  const [one, many, products] = found;
  const isOfChannels = String(many.shape) === String(products.shape) && sizeOf(products.shape) >= leastChannels;
  if (sizeOf(one.shape) !== 1 || one.shape.length > 1 || !isOfChannels) return false;
  const [by, values] = [numbersOf(one)[0], numbersOf(many)];
  return Array.prototype.every.call(numbersOf(products), (value, i) => value === Math.fround(values[i] * by));
}
