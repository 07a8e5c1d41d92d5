// Matrix products read transposed operands in place: a Transpose whose output they alone read is left out of the plan.
import type { Graph, Node } from "../../ir/graph.ts";
import { numbersAttribute } from "../../ops/attributes.ts";
import { isStatic } from "../../ops/dims.ts";
import { isMatrixProduct } from "../../ops/linear.ts";
import { attentionGradientOp, attentionOp } from "./attention/join-attention.ts";
import type { Uses } from "./lowering.ts";
import { fixed, stridesOf } from "./plan.ts";

/** A value's memory seen as matrices: row-major ones or, transposed, column-major ones, with `step` elements from one to the next. */
export interface MatrixView {
  /** The value in that memory, row-major. */
  readonly name: string;
  readonly isTransposed: boolean;
  readonly step: number;
  /** Of the axes before the last two. */
  readonly strides: readonly number[];
}

/** The value that a chain of Transposes begins with, and which of its axes each axis is. */
function untransposed(name: string, graph: Graph, uses: Uses): { name: string; perm: readonly number[] } {
  const node = uses.producers.get(name);
  const shape = graph.values.get(name)?.shape ?? [];
  const axes = shape.map((_, axis) => axis);
  if (node?.op !== "Transpose" || !isStatic(shape)) return { name, perm: axes };
  const from = untransposed(node.inputs[0], graph, uses);
  return { name: from.name, perm: numbersAttribute(node, "perm", axes.toReversed()).map((axis) => from.perm[axis]) };
}

/** An operand with two axes or more as products can read it without a copy. */
export function matrixView(operand: string, graph: Graph, uses: Uses): MatrixView | undefined {
  const { name, perm } = untransposed(operand, graph, uses);
  const base = graph.values.get(name)?.shape ?? [];
  if (base.length < 2 || !isStatic(base)) return undefined;
  const all = stridesOf(fixed(base), "plain");
  const sizes = perm.map((axis) => fixed(base)[axis]);
  const strides = perm.map((axis, i) => (sizes[i] === 1 ? 0 : all[axis]));
  const [rows, columns] = sizes.slice(-2);
  const [down, right] = strides.slice(-2);
  const view = { name, strides: strides.slice(0, -2) };
  if (columns === 1 || right === 1) {
    const step = rows === 1 ? columns : down;
    if (step >= columns) return { ...view, isTransposed: false, step };
  }
  const step = columns === 1 ? rows : right;
  return (rows === 1 || down === 1) && step >= rows ? { ...view, isTransposed: true, step } : undefined;
}

/** Which inputs a node reads as `matrixView` has them, and of which of these rows must lie side by side. */
function viewsOf(node: Node): { readonly all: readonly number[]; readonly rows: readonly number[] } {
  if (isMatrixProduct(node)) return { all: [0, 1], rows: [] };
  if (node.op === attentionOp) return { all: [0, 1, 2], rows: [] };
  return node.op === attentionGradientOp ? { all: [0, 1, 2, 6], rows: [6] } : { all: [], rows: [] };
}

/** Whether a node reads an operand as `matrixView` has it. */
function readsView(node: Node, operand: string, graph: Graph, uses: Uses): boolean {
  const { all, rows } = viewsOf(node);
  const places = node.inputs.flatMap((input, i) => (input === operand ? [i] : []));
  if (!places.every((i) => all.includes(i)) || graph.values.get(operand)?.dtype !== "float32") return false;
  const view = matrixView(operand, graph, uses);
  return view !== undefined && !(view.isTransposed && places.some((i) => rows.includes(i)));
}

/** Whether every reader of a Transpose's output is a product that reads the Transpose's input in place. */
export function isReadInPlace(node: Node, graph: Graph, uses: Uses): boolean {
  const [y] = node.outputs;
  if (node.op !== "Transpose" || graph.outputs.includes(y) || [...graph.updates.values()].includes(y)) return false;
  const readers = uses.readers.get(y) ?? [];
  return readers.every((reader) => isReadInPlace(reader, graph, uses) || readsView(reader, y, graph, uses));
}
