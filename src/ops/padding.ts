// Where Pad takes each element from, and the way back where it repeats elements.
import { FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Node } from "../ir/graph.ts";
import { toNumbers } from "../ir/tensor.ts";
import { mismatch, stringAttribute } from "./attributes.ts";
import { type AxisMatrix, transposedProduct } from "./axis-product.ts";
import type { GradientContext } from "./definition.ts";
import { isStatic } from "./dims.ts";
import { padAmounts } from "./reshaping.ts";

export const padModes = ["constant", "reflect", "edge", "wrap"] as const;

/** How many elements an axis must have for others to repeat them. */
const fewest: Readonly<Record<(typeof padModes)[number], number>> = { constant: 0, edge: 1, wrap: 1, reflect: 2 };

/** Throws SHAPE_MISMATCH where an axis, cut by the negative amounts, has too few elements to repeat: each is reflected once. */
export function checkRepeats(node: Node, mode: (typeof padModes)[number], size: Dim, amounts: readonly Dim[]): void {
  const grows = amounts.some((amount) => typeof amount === "number" && amount > 0);
  if (typeof size !== "number" || !isStatic(amounts) || !grows) return;
  const rest = amounts.reduce((left, amount) => left + Math.min(0, amount), size);
  if (rest < fewest[mode])
    throw mismatch(
      node,
      `mode "${mode}" has ${rest} elements to repeat along an axis; expected ${fewest[mode]} or more.`,
    );
  const most = Math.max(...amounts);
  if (mode === "reflect" && most >= rest)
    throw mismatch(
      node,
      `mode "reflect" has ${rest} elements along an axis and adds ${most}; expected ${rest - 1} or fewer.`,
    );
}

/** The coordinate that a padded one repeats; −1 for the constant. */
export function padSource(mode: string, coordinate: number, size: number): number {
  if (coordinate >= 0 && coordinate < size) return coordinate;
  if (mode === "constant") return -1;
  if (mode === "edge") return Math.min(Math.max(coordinate, 0), size - 1);
  if (mode === "wrap") return ((coordinate % size) + size) % size;
  const period = Math.max(1, 2 * (size - 1));
  const wrapped = ((coordinate % period) + period) % period;
  return Math.min(wrapped, period - wrapped);
}

function repeats(mode: string, axis: number, size: number, begin: number, end: number): AxisMatrix {
  const outputSize = size + begin + end;
  const matrix = new Float64Array(outputSize * size);
  for (let i = 0; i < outputSize; i++) matrix[i * size + padSource(mode, i - begin, size)] = 1;
  return { axis, inputSize: size, outputSize, matrix };
}

/** dx of a mode that repeats elements: dy times the matrix of what repeats what, axis by axis. */
export function repeatedPadGradient({ node, build, type }: GradientContext, dy: string): string {
  const { shape } = type(node.inputs[0]);
  const amounts = padAmounts({
    node,
    inputs: node.inputs.map((input) => (input === "" ? undefined : type(input))),
    elements: (i) => {
      const constant = build.constantOf(node.inputs[i] ?? "");
      return constant ? toNumbers(constant) : type(node.inputs[i]).elements;
    },
    constant: (i) => build.constantOf(node.inputs[i] ?? ""),
  });
  return shape.reduce<string>((dx, size, axis) => {
    const [begin, end] = amounts?.[axis] ?? [];
    if (begin === 0 && end === 0) return dx;
    if (begin === undefined || end === undefined || !isStatic([size, begin, end]))
      throw new FrostbitError("NO_GRADIENT", `${describeNode(node)}: its gradient needs fixed sizes and pads.`);
    const mode = stringAttribute(node, "mode", "constant");
    return transposedProduct(build, dx, repeats(mode, axis, Number(size), Number(begin), Number(end)));
  }, dy);
}
