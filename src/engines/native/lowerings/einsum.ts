// Einsum: of two operands a batch of matrix products where it is one, else one plain loop.
import { sizeOf } from "../../../ir/tensor.ts";
import { type Equation, letterSizes, parseEquation } from "../../../ops/equation.ts";
import type { LoweringContext, NativeOp } from "../lowering.ts";
import { fixed, list, stridesOf, type Value } from "../plan.ts";
import { emitProduct } from "./product.ts";
import { copy, type View, wholeView } from "./shape.ts";

type Sizes = ReadonlyMap<string, number>;

/** The letters of a product: y[batch, m, n] = Σ_k a[batch, m, k] b[batch, k, n]. */
interface Form {
  readonly batch: string;
  readonly m: string;
  readonly n: string;
  readonly k: string;
}

const keep = (letters: string, test: (letter: string) => boolean): string => [...letters].filter(test).join("");

/** `undefined` where the equation is more than a product: a diagonal, or a letter that one operand alone has and sums. */
function formOf({ inputs, output }: Equation): Form | undefined {
  const [a, b] = inputs;
  if (inputs.length !== 2 || inputs.some((term) => new Set(term).size < term.length)) return undefined;
  if (new Set(output).size < output.length) return undefined;
  const isIn = (letters: string) => (letter: string) => letters.includes(letter);
  const shared = keep(a, isIn(b));
  const form = {
    batch: keep(shared, isIn(output)),
    m: keep(a, (letter) => !b.includes(letter) && output.includes(letter)),
    n: keep(b, (letter) => !a.includes(letter) && output.includes(letter)),
    k: keep(shared, (letter) => !output.includes(letter)),
  };
  const covers = (term: string, letters: string): boolean => term.length === letters.length;
  return covers(a, form.batch + form.m + form.k) && covers(b, form.batch + form.k + form.n) ? form : undefined;
}

const sizesOf = (letters: string, sizes: Sizes): readonly number[] => [...letters].map((one) => sizes.get(one) ?? 1);

/** A value whose axes are `from`, with its axes in the order `to`. */
function ordered(value: Value, from: string, to: string, sizes: Sizes): View {
  const strides = stridesOf(sizesOf(from, sizes), "plain");
  return { value, strides: [...to].map((letter) => strides[from.indexOf(letter)]), offset: 0 };
}

function permuted(lowering: LoweringContext, value: Value, from: string, to: string, sizes: Sizes): Value {
  if (from === to) return value;
  const shape = sizesOf(to, sizes);
  const result = lowering.scratch("float32", shape);
  copy(lowering, shape, ordered(value, from, to, sizes), wholeView(result));
  return result;
}

function lowerProduct(lowering: LoweringContext, { inputs, output }: Equation, form: Form, sizes: Sizes): void {
  const { batch, m, n, k } = form;
  const y = lowering.output(0);
  if (!y) return;
  const isTransposed = inputs[1] === batch + n + k && k + n !== n + k;
  const a = permuted(lowering, lowering.input(0, "plain"), inputs[0], batch + m + k, sizes);
  const wanted = isTransposed ? inputs[1] : batch + k + n;
  const b = permuted(lowering, lowering.input(1, "plain"), inputs[1], wanted, sizes);
  const [rows, columns, depth] = [m, n, k].map((letters) => sizeOf(sizesOf(letters, sizes)));
  const isDirect = output === batch + m + n;
  const product = isDirect ? y : lowering.scratch("float32", sizesOf(batch + m + n, sizes));
  emitProduct(lowering, {
    a,
    b,
    c: undefined,
    y: product,
    sizes: [rows, columns, depth],
    transposed: [false, isTransposed],
    cStrides: [0, 0],
    batch: [sizeOf(sizesOf(batch, sizes))],
    strides: [[rows * depth], [depth * columns]],
    factors: [1, 0],
  });
  if (isDirect) return;
  copy(lowering, sizesOf(output, sizes), ordered(product, batch + m + n, output, sizes), wholeView(y));
}

function lowerPlainly({ node, input, output, emit }: LoweringContext, equation: Equation, sizes: Sizes): void {
  const summed = [...sizes.keys()].filter((letter) => !equation.output.includes(letter));
  const letters = [...equation.output, ...summed];
  const operands = node.inputs.map((_, i) => input(i, "plain"));
  const strides = operands.map((value, i) => {
    const own = stridesOf(fixed(value.shape), "plain");
    const isRepeated = (axis: number): boolean => value.shape[axis] === 1;
    const strideOf = (letter: string): number =>
      [...equation.inputs[i]].reduce(
        (total, each, axis) => total + (each === letter && !isRepeated(axis) ? own[axis] : 0),
        0,
      );
    return list(letters.map(strideOf));
  });
  const shapes = [sizesOf(equation.output, sizes), sizesOf(summed.join(""), sizes)];
  const ints = [...shapes.flatMap(list), operands.length, ...strides.flat()];
  emit("einsum", { inputs: operands, outputs: [output(0)], ints });
}

/** The most axes that native/src/steps/einsum.cpp loops over, and the most operands. */
const maxCount = 8;

const Einsum: NativeOp = {
  accepts: (node) => {
    const { inputs, output } = parseEquation(node);
    return inputs.length <= maxCount && new Set([...inputs.join(""), ...output]).size <= maxCount;
  },
  lower: (lowering) => {
    const equation = parseEquation(lowering.node);
    const shapes = lowering.node.inputs.map((_, i) => fixed(lowering.input(i).shape));
    const sizes = letterSizes(lowering.node, equation, shapes);
    const isBroadcast = shapes.some((shape, i) => String(shape) !== String(sizesOf(equation.inputs[i], sizes)));
    const form = isBroadcast ? undefined : formOf(equation);
    if (form) lowerProduct(lowering, equation, form, sizes);
    else lowerPlainly(lowering, equation, sizes);
  },
};

export const einsumOps: Readonly<Record<string, NativeOp>> = { Einsum };
