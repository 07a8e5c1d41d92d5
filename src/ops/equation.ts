// Einsum's equations: one letter per axis.
import type { Dim, Node } from "../ir/graph.ts";
import { mismatch, printShape, stringAttribute, unsupported } from "./attributes.ts";

export interface Equation {
  readonly inputs: readonly string[];
  readonly output: string;
}

/** The letters that stand once in all inputs, in alphabetical order, as an equation without "->" means them. */
function implicitOutput(inputs: readonly string[]): string {
  const letters = [...inputs.join("")];
  const once = letters.filter((letter) => letters.indexOf(letter) === letters.lastIndexOf(letter));
  return once.sort().join("");
}

export function parseEquation(node: Node): Equation {
  const text = stringAttribute(node, "equation", "").replaceAll(" ", "");
  if (text.includes(".")) throw unsupported(node, `equation "${text}" has an ellipsis, which is not supported.`);
  const [left, right] = text.split("->");
  const inputs = left.split(",");
  if (inputs.length !== node.inputs.length)
    throw mismatch(node, `equation "${text}" has ${inputs.length} terms for ${node.inputs.length} inputs.`);
  return { inputs, output: right ?? implicitOutput(inputs) };
}

/** Costs are counted with NaN where only a run knows a size. */
const isKnown = (size: Dim | undefined): size is number => typeof size === "number" && !Number.isNaN(size);

/** The size that each letter stands for; sizes of 1 broadcast. */
export function letterSizes<D extends Dim>(
  node: Node,
  { inputs, output }: Equation,
  shapes: readonly (readonly D[])[],
): ReadonlyMap<string, D> {
  const sizes = new Map<string, D>();
  inputs.forEach((letters, i) => {
    if (letters.length !== shapes[i].length)
      throw mismatch(node, `term "${letters}" names ${letters.length} axes of ${printShape(shapes[i])}.`);
    [...letters].forEach((letter, axis) => {
      const size = shapes[i][axis];
      const own = shapes[i][letters.indexOf(letter)];
      if (isKnown(size) && isKnown(own) && size !== own)
        throw mismatch(
          node,
          `term "${letters}" takes a diagonal of ${printShape(shapes[i])}, whose axes differ in size.`,
        );
      const known = sizes.get(letter);
      if (known === 1) {
        sizes.set(letter, size);
        return;
      }
      if (isKnown(known) && isKnown(size) && known !== size && size !== 1)
        throw mismatch(node, `axis "${letter}" has the sizes ${known} and ${size}.`);
      if (!isKnown(known)) sizes.set(letter, size);
    });
  });
  const unknown = [...output].find((letter) => !sizes.has(letter));
  if (unknown !== undefined) throw mismatch(node, `its output axis "${unknown}" is in none of the inputs.`);
  return sizes;
}
