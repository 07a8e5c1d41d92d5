// The shapes that Reshape, Split, Range and Pad give.
import type { Dim, Node } from "../ir/graph.ts";
import { mismatch, numberAttribute, printShape } from "./attributes.ts";
import type { InferContext } from "./definition.ts";
import { productOf, quotientOf, ratioOf } from "./dims.ts";
import { knownNumbers, operand, resolveAxis, unknownDim } from "./operands.ts";

/** The shape that `target` (with 0 and −1 as ONNX means them) asks for. */
export function reshapedShape(node: Node, from: readonly Dim[], target: readonly Dim[]): readonly Dim[] {
  const keepsZero = numberAttribute(node, "allowzero", 0) === 1;
  const copied = target.map((dim, axis) => {
    if (dim !== 0 || keepsZero) return dim;
    if (axis < from.length) return from[axis];
    throw mismatch(node, `size 0 at axis ${axis} copies an axis that ${printShape(from)} does not have.`);
  });
  const inferred = copied.indexOf(-1);
  const failure = `cannot reshape ${printShape(from)} to ${printShape(target)}`;
  if (copied.filter((dim) => dim === -1).length > 1) throw mismatch(node, `${failure}; only one size may be -1.`);
  if (inferred < 0) {
    if (ratioOf(from, copied) !== undefined && productOf(from) !== productOf(copied))
      throw mismatch(node, `${failure}; the numbers of elements ${productOf(from)} and ${productOf(copied)} differ.`);
    return copied;
  }
  const rest = copied.toSpliced(inferred, 1);
  const size = quotientOf(from, rest);
  if (size === undefined && ratioOf(from, rest) !== undefined)
    throw mismatch(node, `${failure}; ${productOf(from)} elements do not divide by ${productOf(rest)}.`);
  return copied.with(inferred, size ?? unknownDim(node, inferred));
}

/** The sizes of Split's parts. */
export function splitSizes(context: InferContext, axis: number): readonly Dim[] {
  const { node } = context;
  const dim = operand(context, 0).shape[axis];
  const given = context.inputs[1] ? context.elements(1) : undefined;
  if (given) return given;
  if (context.inputs[1]) return node.outputs.map((_, i) => unknownDim(node, axis, i));
  const count = numberAttribute(node, "num_outputs", 0);
  if (count === 0) throw mismatch(node, "neither the sizes of its parts nor num_outputs is given.");
  if (typeof dim === "string") {
    const even = quotientOf([dim], [count]);
    return node.outputs.map((_, i) => even ?? unknownDim(node, axis, i));
  }
  const size = Math.ceil(dim / count);
  if (dim > 0 && size * (count - 1) >= dim)
    throw mismatch(
      node,
      `cannot split ${dim} elements into ${count} parts of ${size}, the last of which may be smaller.`,
    );
  return Array.from({ length: count }, (_, i) => Math.max(0, Math.min(size, dim - i * size)));
}

/** How many numbers Range gives. */
export function rangeCount(node: Node, start: number, limit: number, delta: number): number {
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  if (delta !== 0 && count < 2 ** 31) return count;
  throw mismatch(node, `from ${start} to ${limit} by ${delta} has no end, or more than 2^31 numbers.`);
}

/** Pad's amounts as [begin, end] of every axis; negative amounts cut. */
export function padAmounts(context: InferContext): readonly (readonly [Dim, Dim])[] | undefined {
  const rank = operand(context, 0).shape.length;
  const pads = context.elements(1);
  const axes = knownNumbers(context, 3, "axes") ?? Array.from({ length: rank }, (_, i) => i);
  if (!pads) return undefined;
  if (pads.length !== 2 * axes.length)
    throw mismatch(context.node, `${pads.length} pads for ${axes.length} axes; expected ${2 * axes.length}.`);
  const amounts: (readonly [Dim, Dim])[] = Array.from({ length: rank }, () => [0, 0] as const);
  axes.forEach((axis, i) => {
    amounts[resolveAxis(context.node, axis, rank)] = [pads[i], pads[i + axes.length]];
  });
  return amounts;
}
