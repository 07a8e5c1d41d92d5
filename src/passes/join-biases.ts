// What an Add puts behind a layer without a bias, one number for each channel, becomes its bias: integer kernels add it, Add is none.
import { consumers, type Graph, type Node } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { newNamesIn } from "../ir/unique-names.ts";
import { channelAxisOf, isLinear, takesBias } from "../ops/linear.ts";
import { inferTypes } from "./infer-types.ts";
import { removeDeadNodes } from "./remove-dead-nodes.ts";

interface Join {
  readonly add: Node;
  /** The constant that is added, and the number for each channel. */
  readonly name: string;
  readonly bias: Tensor;
}

export function joinBiases(graph: Graph): Graph {
  const readers = consumers(graph);
  const joins = new Map<Node, Join>();
  for (const node of graph.nodes) {
    const found = joinOf(graph, readers, node);
    if (found) joins.set(node, found);
  }
  if (joins.size === 0) return graph;
  const constants = new Map(graph.constants);
  const literals = new Set(graph.literals);
  const { constant } = newNamesIn(graph, constants);
  const replaced = new Map<Node, Node | undefined>();
  for (const [node, { add, name, bias }] of joins) {
    const isVector = String(graph.constants.get(name)?.shape) === String(bias.shape);
    const vector = isVector ? name : constant(`${name}:${bias.shape}`, bias);
    if (literals.has(name)) literals.add(vector);
    const { beta: _, ...attributes } = node.attributes;
    replaced.set(node, undefined);
    replaced.set(add, { ...node, inputs: [...node.inputs.slice(0, 2), vector], outputs: add.outputs, attributes });
  }
  const nodes = graph.nodes.flatMap((node) => (replaced.has(node) ? (replaced.get(node) ?? []) : [node]));
  return removeDeadNodes(inferTypes({ ...graph, nodes, constants, ...(graph.literals && { literals }) }));
}

function joinOf(graph: Graph, readers: ReadonlyMap<string, readonly Node[]>, node: Node): Join | undefined {
  const [, weight = "", own = ""] = node.inputs;
  const [output] = node.outputs;
  const [add, ...others] = readers.get(output) ?? [];
  const isLayer = isLinear(node) && takesBias(node) && own === "" && graph.constants.has(weight);
  if (!isLayer || add?.op !== "Add" || others.length > 0 || graph.outputs.includes(output)) return undefined;
  const name = add.inputs[add.inputs[0] === output ? 1 : 0];
  const [added, shape] = [graph.constants.get(name), graph.values.get(output)?.shape];
  const bias = added && shape && biasOf(added, shape.map(Number), channelAxisOf(node, shape.length));
  return bias && { add, name, bias };
}

/** One number for each channel of a value of this shape; `undefined` where what is added is another, or wider than the value. */
function biasOf(added: Tensor, shape: readonly number[], axis: number): Tensor | undefined {
  const channels = shape[axis];
  const place = axis - (shape.length - added.shape.length);
  const isBeside = added.shape.every((size, i) => size === 1 || (i === place && size === channels));
  if (!isBeside || added.shape.length > shape.length || !Number.isInteger(channels)) return undefined;
  const values = numbersOf(added);
  const isOne = sizeOf(added.shape) === 1;
  return tensorOf(
    added.dtype,
    [channels],
    Array.from({ length: channels }, (_, i) => values[isOne ? 0 : i]),
  );
}
