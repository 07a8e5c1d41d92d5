// Einsum: an ellipsis becomes letters, and an equation that is a matrix product becomes one, so that it quantizes like any other.
import { stringAttribute } from "../../ops/attributes.ts";
import { type Equation, letterSizes, parseEquation } from "../../ops/equation.ts";
import { replacement } from "./replacement.ts";
import { always, cannotUpgrade, type Upgrade, type UpgradeContext } from "./upgrade.ts";

const alphabet = [..."abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"];

/** The axes of the ellipsis are aligned at their ends, as broadcasting aligns them. */
function withoutEllipsis({ node, opset, type }: UpgradeContext): string {
  const text = stringAttribute(node, "equation", "").replaceAll(" ", "");
  if (!text.includes("...")) return text;
  const [left, right] = text.split("->");
  const terms = left.split(",");
  const ranks = terms.map((term, i) =>
    term.includes("...") ? type(node.inputs[i]).shape.length - (term.length - 3) : 0,
  );
  if (ranks.some((rank) => rank < 0))
    throw cannotUpgrade(node, opset, `its equation "${text}" names more axes than its inputs have.`);
  const maxRank = Math.max(...ranks);
  const free = alphabet.filter((letter) => !text.includes(letter)).slice(0, maxRank);
  const letters = (rank: number): string => free.slice(maxRank - rank).join("");
  const inputs = terms.map((term, i) => term.replace("...", letters(ranks[i])));
  const named = [...left.replaceAll(/[.,]/g, "")];
  const once = named.filter((letter) => named.indexOf(letter) === named.lastIndexOf(letter)).sort();
  return `${inputs.join(",")}->${right === undefined ? letters(maxRank) + once.join("") : right.replace("...", letters(maxRank))}`;
}

export const toLetters: Upgrade = {
  before: always,
  upgrade: (context) => [{ ...context.node, attributes: { equation: withoutEllipsis(context) } }],
};

interface Product {
  /** In both terms and the output. */
  readonly batch: readonly string[];
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  readonly summed: readonly string[];
}

/** How a and b are multiplied; `undefined` where their product is not a matrix product. */
function productOf({ inputs, output }: Equation): Product | undefined {
  if (inputs.length !== 2) return undefined;
  const [a, b] = inputs;
  if ([...inputs, output].some((term) => new Set(term).size < term.length)) return undefined;
  const letters = [...new Set(a + b)];
  const where = (inA: boolean, inB: boolean, inOutput: boolean): string[] =>
    letters.filter(
      (letter) => a.includes(letter) === inA && b.includes(letter) === inB && output.includes(letter) === inOutput,
    );
  const product = {
    batch: where(true, true, true),
    rows: where(true, false, true),
    columns: where(false, true, true),
    summed: where(true, true, false),
  };
  const isLeft = where(true, false, false).length + where(false, true, false).length > 0;
  const isMatrix = product.summed.length === 1 && product.columns.length === 1;
  const fits = product.rows.length === 1 || (product.batch.length === 0 && product.rows.length > 0);
  return !isLeft && isMatrix && fits ? product : undefined;
}

/** a as [batch, rows, summed] times b as [batch, summed, columns] is [batch, rows, columns]; moved to where the output has them. */
export const toMatMul: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node } = context;
    const equation = parseEquation(node);
    letterSizes(
      node,
      equation,
      node.inputs.map((input) => context.type(input).shape),
    );
    const product = productOf(equation);
    if (!product) return [node];
    const { batch, rows, columns, summed } = product;
    const { call, finish } = replacement(context);
    const moved = (value: string, from: string, to: readonly string[]): string => {
      if (from === to.join("")) return value;
      return call("Transpose", [value], { perm: to.map((letter) => from.indexOf(letter)) });
    };
    const [a, b] = node.inputs;
    const multiplied = call("MatMul", [
      moved(a, equation.inputs[0], [...batch, ...rows, ...summed]),
      moved(b, equation.inputs[1], [...batch, ...summed, ...columns]),
    ]);
    return finish(moved(multiplied, [...batch, ...rows, ...columns].join(""), [...equation.output]));
  },
};
