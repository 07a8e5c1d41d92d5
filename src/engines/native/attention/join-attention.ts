// Makes attention one node, and its gradient another: what lies between their products is then never in memory as a whole.
import type { Graph, Node, ValueType } from "../../../ir/graph.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import { numbersAttribute } from "../../../ops/attributes.ts";
import { removeDeadNodes } from "../../../passes/remove-dead-nodes.ts";
import { type Attention, findAttention } from "./find-attention.ts";
import { type AttentionGradient, findGradient, gradientReaders } from "./find-gradient.ts";
import { readersOf, type Surroundings, shapeOf, surroundingsOf, swapped } from "./surroundings.ts";

/**
 * Inputs: q [batch, rows, size], k [batch, size, keys] and v [batch, keys, width] as products have them, a mask or "". Outputs: y
 * [batch, rows, width], and of each row the largest score and one by the sum of exponentials. Attributes: the scale, and the
 * heads' batch with the queries of each.
 */
export const attentionOp = "Attention by blocks";
/** Inputs: those of the attention, y, the statistics and dy. Outputs, or "": dq, dk [batch, keys, size] and dv. */
export const attentionGradientOp = "Gradient of attention by blocks";

/** A part of the graph with what takes its place, at the first of the nodes that go. */
interface Replacement {
  readonly removed: readonly Node[];
  readonly added: readonly Node[];
}

/** Fewer keys are left to products of whole matrices, which are faster: their scores stay in the caches. */
const minKeys = 256;

/** The graph, of known sizes, with these nodes where nothing else reads what lies between the products. */
export function joinAttention(graph: Graph): Graph {
  const around = surroundingsOf(graph);
  const types = new Map<string, ValueType>();
  const replacements = graph.nodes.flatMap((node) => {
    const attention = findAttention(around, node);
    if (!attention || (shapeOf(around, attention.weights).at(-1) ?? 0) < minKeys) return [];
    const readers = gradientReaders(around, attention);
    const gradient = readers.length > 0 ? findGradient(around, attention, readers) : undefined;
    if (readers.length > 0 && !gradient) return [];
    return replacementsOf(around, attention, gradient, types);
  });
  if (replacements.length === 0) return graph;
  const values = new Map([...graph.values, ...types]);
  return removeDeadNodes({ ...graph, values, nodes: replaced(graph.nodes, replacements) });
}

function replacementsOf(
  around: Surroundings,
  attention: Attention,
  gradient: AttentionGradient | undefined,
  types: Map<string, ValueType>,
): readonly Replacement[] {
  const { product, mixed, mask = "", scale, softmax } = attention;
  const [y] = mixed.outputs;
  const rows = shapeOf(around, attention.weights).slice(0, -1);
  const statistics = `${y}/statistics`;
  types.set(statistics, { dtype: "float32", shape: [...rows, 2] });
  const inputs = [...product.inputs, mixed.inputs[1], mask];
  const attributes = { scale, heads: shapeOf(around, softmax.outputs[0]).slice(0, -1) };
  const forward: Node = {
    name: mixed.name,
    op: attentionOp,
    inputs,
    outputs: [y, gradient ? statistics : ""],
    attributes,
  };
  const first: Replacement = { removed: [mixed], added: [forward] };
  if (!gradient) return [first];
  const { dq, dk, dv, dy } = gradient;
  const products = around.graph.nodes.filter((node) => node === dq || node === dk || node === dv);
  const ofKeys = dk ? `${dk.outputs[0]}/keys` : "";
  const backward: Node = {
    name: products[0].name,
    op: attentionGradientOp,
    inputs: [...inputs, y, statistics, dy],
    outputs: [dq?.outputs[0] ?? "", ofKeys, dv?.outputs[0] ?? ""],
    attributes,
  };
  if (!dk) return [first, { removed: products, added: [backward] }];
  const shape = swapped(shapeOf(around, dk.outputs[0]));
  types.set(ofKeys, { dtype: "float32", shape });
  const perm = swapped(shape.map((_, axis) => axis));
  const turned: Node = {
    name: `${dk.name}/keys`,
    op: "Transpose",
    inputs: [ofKeys],
    outputs: dk.outputs,
    attributes: { perm },
  };
  return [first, { removed: products, added: [backward, turned] }, ...withoutTurn(around, turned, perm)];
}

/** Transposes of what is transposed already are one Transpose, or none. */
function withoutTurn(around: Surroundings, { inputs, outputs: [y] }: Node, turn: readonly number[]): Replacement[] {
  const readers = readersOf(around, y).filter(({ op }) => op === "Transpose");
  return readers.map((reader) => {
    const perm = numbersAttribute(reader, "perm", []).map((axis) => turn[axis]);
    const isNone = perm.every((axis, i) => axis === i);
    const once: Node = {
      ...reader,
      inputs,
      ...(isNone ? { op: "Identity", attributes: {} } : { attributes: { perm } }),
    };
    return { removed: [reader], added: [once] };
  });
}

function replaced(nodes: readonly Node[], replacements: readonly Replacement[]): readonly Node[] {
  const instead = new Map<Node, readonly Node[]>();
  for (const { removed, added } of replacements)
    removed.forEach((node, i) => {
      instead.set(node, i === 0 ? added : []);
    });
  return nodes.flatMap((node) => instead.get(node) ?? [node]);
}

/** Of attention's two products, or of its gradient's five, whose operands have these shapes; `undefined` for other nodes. */
export function attentionMultiplyAdds(
  node: Node,
  shapes: readonly (readonly number[] | undefined)[],
): number | undefined {
  if (node.op !== attentionOp && node.op !== attentionGradientOp) return undefined;
  const [q = [], k = [], v = []] = shapes;
  const batch = sizeOf(numbersAttribute(node, "heads", [])) / q[q.length - 2];
  const [rows, size, keys, width] = [...q.slice(-2), k[k.length - 1], v[v.length - 1]];
  const [ofScores, ofValues] = node.op === attentionOp ? [1, 1] : [3, 2];
  return batch * rows * keys * (ofScores * size + ofValues * width);
}
