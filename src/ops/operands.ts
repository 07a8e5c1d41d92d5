// Reads a node's inputs inside shape rules: what is required, axes, and contents that must be known.
import { FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Node, type ValueType } from "../ir/graph.ts";
import { shortened } from "../ir/shortened.ts";
import { mismatch, printShape, unsupported } from "./attributes.ts";
import type { InferContext } from "./definition.ts";
import { isStatic } from "./dims.ts";

/** The type of an input that must be there. */
export function operand({ inputs, node }: InferContext, i: number): ValueType {
  const type = inputs[i];
  if (type) return type;
  throw new FrostbitError("BAD_MODEL", `${describeNode(node)}: input ${i} is missing; it is required.`);
}

/** An axis counted from the front. */
export function resolveAxis(node: Node, axis: number, rank: number): number {
  const resolved = axis < 0 ? axis + rank : axis;
  if (resolved >= 0 && resolved < rank) return resolved;
  throw mismatch(node, `axis ${axis} is outside a tensor of ${rank} axes.`);
}

/** Contents that a shape rule cannot do without, as numbers; `undefined` where the input is left out. */
export function knownNumbers(context: InferContext, i: number, what: string): readonly number[] | undefined {
  if (!context.inputs[i]) return undefined;
  const elements = context.elements(i);
  if (elements && isStatic(elements)) return elements;
  throw unsupported(
    context.node,
    `its ${what} (input "${context.node.inputs[i]}") must be known before the graph runs` +
      `${elements ? `, and is ${printShape(elements)}` : ""}. Give the model's inputs fixed sizes.`,
  );
}

/** Sizes that inference cannot know, named after the node's output. */
export const unknownDim = (node: Node, axis: number, output = 0): string =>
  `${shortened(node.outputs[output])}.${axis}`;

/** An element that inference cannot know, named after the node's output. */
export const unknownElement = (node: Node, i: number, output = 0): string => `${shortened(node.outputs[output])}[${i}]`;

export const isUnknownElement = (element: Dim, node: Node): boolean =>
  typeof element === "string" && node.outputs.some((name) => name !== "" && element.startsWith(`${shortened(name)}[`));

/** Longer expressions tell nobody anything, and a small file can describe ones that no memory holds. */
const longestSymbol = 256;

const isLong = (dim: Dim): boolean => typeof dim === "string" && dim.length > longestSymbol;

/** The type with new names in the place of sizes and elements whose expressions are long. */
export function withShortSymbols(node: Node, type: ValueType, output: number): ValueType {
  const { dtype, shape, elements } = type;
  if (!shape.some(isLong) && !elements?.some(isLong)) return type;
  return {
    dtype,
    shape: shape.map((dim, axis) => (isLong(dim) ? unknownDim(node, axis, output) : dim)),
    ...(elements ? { elements: elements.map((dim, i) => (isLong(dim) ? unknownElement(node, i, output) : dim)) } : {}),
  };
}

/** More than any runtime has; how many there are may come from a number in a file. */
const maxRank = 64;

/** A shape of which only the number of axes is known. */
export function unknownShape(node: Node, rank: number): readonly Dim[] {
  if (rank > maxRank) throw mismatch(node, `its output would have ${rank} axes; expected ${maxRank} at most.`);
  return Array.from({ length: rank }, (_, axis) => unknownDim(node, axis));
}

const maxElements = 1024;

/** A type with its contents where these are few and known. */
export function withElements(
  dtype: ValueType["dtype"],
  shape: readonly Dim[],
  elements: readonly Dim[] | undefined,
): ValueType {
  const isSmall = elements !== undefined && elements.length <= maxElements && /^(u?int(32|64)|bool)$/.test(dtype);
  return isSmall ? { dtype, shape, elements } : { dtype, shape };
}
