// Operators that reduce, normalize or accumulate along axes.

import type { Builder } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import { describeNode, type Node } from "../ir/graph.ts";
import { sizeOf } from "../ir/tensor.ts";
import { arithmetic, shapeOf } from "./arithmetic.ts";
import { numberAttribute } from "./attributes.ts";
import type { InferRule, OpDefinition, SampleRule } from "./definition.ts";
import { type Equation, letterSizes, parseEquation } from "./equation.ts";
import { anything, floats, integers, numbers, optional, repeated, single, tied, vector } from "./inputs.ts";
import { operand, resolveAxis } from "./operands.ts";
import type { ElementwiseFacts } from "./pointwise.ts";
import {
  costPerInput,
  foldProduct,
  foldSum,
  inferReduction,
  keepsAxes,
  type ReductionGradient,
  reducedAxes,
  reductionRule,
} from "./reducing.ts";
import { axisOfFirst, samplesBesideAxis, samplesWhere } from "./samples.ts";

/** Reduced axes mix; the others close up where these are dropped. */
const reducedSamples: SampleRule = (context) => {
  const axis = axisOfFirst(context);
  const given = context.elements(1)?.map(Number);
  const rank = context.inputs[0]?.shape.length ?? 0;
  const axes = reducedAxes(context.node, given, rank);
  if (axis < 0 || axes.includes(axis)) return "coupled";
  return keepsAxes(context.node) ? axis : axis - axes.filter((reduced) => reduced < axis).length;
};

const reduction = (
  { takes, introduced }: ElementwiseFacts,
  dx: (gradient: ReductionGradient) => string,
  fold?: Parameters<typeof inferReduction>[0],
): OpDefinition => ({
  introduced,
  inputs: [takes, optional(vector(integers))],
  outputs: 1,
  sampleAxis: reducedSamples,
  movesValues: false,
  infer: inferReduction(fold),
  gradient: reductionRule(dx),
  cost: costPerInput,
});

/** dx = dy, repeated */
export const ReduceSum: OpDefinition = reduction(
  { takes: numbers, introduced: 1 },
  ({ dy, spread }) => spread(dy),
  foldSum,
);

/** dx = dy / n, repeated */
export const ReduceMean: OpDefinition = reduction({ takes: numbers, introduced: 1 }, ({ dy, div, count, spread }) =>
  spread(div(dy, count())),
);

/** dx = dy · [x = y] / (number of elements equal to y) */
const extremeRule = ({ dy, y, x, mul, div, call, cast, reduce, build }: ReductionGradient): string => {
  const isExtreme = cast(call("Equal", x, y), build.type(x).dtype);
  return mul(isExtreme, div(dy, reduce("ReduceSum", isExtreme)));
};
export const ReduceMax: OpDefinition = reduction({ takes: anything, introduced: 1 }, extremeRule);
export const ReduceMin: OpDefinition = reduction({ takes: anything, introduced: 1 }, extremeRule);

/**
 * With no zero among the reduced elements dx = dy · y / x; with one, dy · (product of the others) there and 0 elsewhere;
 * with more, 0.
 */
export const ReduceProd: OpDefinition = reduction(
  { takes: numbers, introduced: 1 },
  ({ dy, x, mul, div, where, call, cast, of, reduce, build }) => {
    const isZero = call("Equal", x, of(0));
    const zeroCount = reduce("ReduceSum", cast(isZero, build.type(x).dtype));
    const others = where(isZero, of(1), x);
    const product = reduce("ReduceProd", others);
    const atZero = where(call("Equal", zeroCount, of(1)), product, of(0));
    const elsewhere = where(call("Equal", zeroCount, of(0)), div(product, others), of(0));
    return mul(dy, where(isZero, atZero, elsewhere));
  },
  foldProduct,
);

/** dx = dy · sign x */
export const ReduceL1: OpDefinition = reduction({ takes: numbers, introduced: 1 }, ({ dy, x, mul, call }) =>
  mul(dy, call("Sign", x)),
);

/** dx = dy · x / y, and 0 where y = 0 */
export const ReduceL2: OpDefinition = reduction(
  { takes: numbers, introduced: 1 },
  ({ dy, x, y, mul, div, where, call, of }) => {
    const isZero = call("Equal", y, of(0));
    return mul(x, where(isZero, of(0), div(dy, where(isZero, of(1), y))));
  },
);

/** dx = 2 · dy · x */
export const ReduceSumSquare: OpDefinition = reduction({ takes: numbers, introduced: 1 }, ({ dy, x, mul, of }) =>
  mul(dy, of(2), x),
);

/** dx = dy · exp(x − y) */
export const ReduceLogSumExp: OpDefinition = reduction(
  { takes: numbers, introduced: 1 },
  ({ dy, x, y, mul, sub, call }) => mul(dy, call("Exp", sub(x, y))),
);

const inferAlongAxis: InferRule = (context) => {
  const { dtype, shape } = operand(context, 0);
  resolveAxis(context.node, numberAttribute(context.node, "axis", -1), shape.length);
  return [{ dtype, shape }];
};

/** dx = y · (dy − Σ dy · y) */
export const Softmax: OpDefinition = {
  introduced: 1,
  inputs: [floats],
  outputs: 1,
  sampleAxis: samplesBesideAxis(-1),
  movesValues: false,
  infer: inferAlongAxis,
  gradient: ({ node, build, dys: [dy] }) => {
    if (dy === undefined) return [];
    const { mul, sub } = arithmetic(build, dy);
    const y = node.outputs[0];
    const axes = build.ints([numberAttribute(node, "axis", -1)]);
    return [mul(y, sub(dy, build.node("ReduceSum", [mul(dy, y), axes], { keepdims: 1 })))];
  },
  cost: costPerInput,
};

/** dx = dy − exp(y) · Σ dy */
export const LogSoftmax: OpDefinition = {
  introduced: 1,
  inputs: [floats],
  outputs: 1,
  sampleAxis: samplesBesideAxis(-1),
  movesValues: false,
  infer: inferAlongAxis,
  gradient: ({ node, build, dys: [dy] }) => {
    if (dy === undefined) return [];
    const { mul, sub, call } = arithmetic(build, dy);
    const axes = build.ints([numberAttribute(node, "axis", -1)]);
    const total = build.node("ReduceSum", [dy, axes], { keepdims: 1 });
    return [sub(dy, mul(call("Exp", node.outputs[0]), total))];
  },
  cost: costPerInput,
};

const cumulatedSamples: SampleRule = (context) => {
  const [axis] = context.elements(1) ?? [];
  const isOther = (sampleAxis: number, _node: Node, rank: number): boolean =>
    typeof axis === "number" && sampleAxis !== (axis < 0 ? axis + rank : axis);
  return samplesWhere(isOther)(context);
};

/** dx = the cumulative sum of dy from the other end */
export const CumSum: OpDefinition = {
  introduced: 11,
  inputs: [numbers, single(integers)],
  outputs: 1,
  sampleAxis: cumulatedSamples,
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const [axis] = context.elements(1) ?? [];
    if (typeof axis === "number") resolveAxis(context.node, axis, shape.length);
    return [{ dtype, shape }];
  },
  gradient: ({ node, build, dys: [dy] }) => {
    if (dy === undefined) return [];
    const reverse = 1 - numberAttribute(node, "reverse", 0);
    const exclusive = numberAttribute(node, "exclusive", 0);
    return [build.node("CumSum", [dy, node.inputs[1]], { exclusive, reverse })];
  },
  cost: costPerInput,
};

/** dx = the Einsum of dy and the other inputs that ends in x's letters; letters that x alone has are repeated */
function einsumGradient(build: Builder, node: Node, { inputs, output }: Equation, dy: string, i: number): string {
  const own = inputs[i];
  if (new Set(own).size < own.length)
    throw new FrostbitError(
      "NO_GRADIENT",
      `${describeNode(node)}: term "${own}" takes a diagonal, which has no gradient.`,
    );
  const others = inputs.toSpliced(i, 1);
  const elsewhere = output + others.join("");
  const kept = [...own].filter((letter) => elsewhere.includes(letter)).join("");
  const equation = `${[output, ...others].join(",")}->${kept}`;
  const reduced = build.node("Einsum", [dy, ...node.inputs.toSpliced(i, 1)], { equation });
  if (kept === own) return reduced;
  const missing = [...own].flatMap((letter, axis) => (kept.includes(letter) ? [] : [axis]));
  const widened = build.node("Unsqueeze", [reduced, build.ints(missing)]);
  return build.node("Expand", [widened, shapeOf(build, node.inputs[i])]);
}

/** The samples' letter is summed over unless the output has it; an operand that lacks the samples may not have it either. */
const einsumSamples: SampleRule = ({ node, axes, inputs }) => {
  const equation = parseEquation(node);
  const letters = new Set(equation.inputs.flatMap((term, i) => (axes[i] < 0 ? [] : [term[axes[i]]])));
  const [letter] = letters;
  const isApart = equation.inputs.every((term, i) => {
    const places = [...term].flatMap((each, axis) => (each === letter ? [axis] : []));
    return places.length < 2 && (axes[i] >= 0 || places.every((axis) => inputs[i]?.shape[axis] === 1));
  });
  const axis = equation.output.indexOf(letter);
  return letters.size === 1 && isApart && axis >= 0 ? axis : "coupled";
};

export const Einsum: OpDefinition = {
  introduced: 12,
  inputs: [repeated(tied(numbers))],
  outputs: 1,
  sampleAxis: einsumSamples,
  movesValues: false,
  infer: (context) => {
    const types = context.node.inputs.map((_, i) => operand(context, i));
    const equation = parseEquation(context.node);
    const sizes = letterSizes(
      context.node,
      equation,
      types.map(({ shape }) => shape),
    );
    return [{ dtype: types[0].dtype, shape: [...equation.output].flatMap((letter) => sizes.get(letter) ?? []) }];
  },
  gradient: ({ node, build, dys: [dy], wants }) => {
    if (dy === undefined) return [];
    const equation = parseEquation(node);
    return node.inputs.map((_, i) => (wants(i) === "none" ? undefined : einsumGradient(build, node, equation, dy, i)));
  },
  cost: (inputs, _outputs, node) => {
    const shapes = inputs.map((shape) => shape ?? []);
    return { multiplyAdds: sizeOf([...letterSizes(node, parseEquation(node), shapes).values()]) };
  },
};
