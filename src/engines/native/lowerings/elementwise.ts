// Operators that work element by element, in float32; typed.ts has the other types.
import { type DType, isFloat } from "../../../ir/dtype.ts";
import type { Graph, Node } from "../../../ir/graph.ts";
import { scalar, sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute, stringAttribute } from "../../../ops/attributes.ts";
import { isStatic } from "../../../ops/dims.ts";
import { constantValue, isSettled, type LoweringContext, type NativeOp, type Open } from "../lowering.ts";
import { bytesOf, fixed, type Value } from "../plan.ts";
import { broadcastNest, countOf, isRowWidth, isSame, isScalar, repeatOf, sharedLayout } from "./broadcasting.ts";
import { castTo } from "./cast.ts";
import {
  acceptsArithmetic,
  acceptsTypedUnary,
  commonType,
  dtypeOf,
  emitArithmetic,
  emitTypedUnary,
  integerTypes,
} from "./typed.ts";

/** Numbered as native/src/kernels.h numbers them. */
const binaries = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "ReluGradient", "PRelu", "Mod", "FMod"];
const unaries = [
  ..."Relu Neg Abs Exp Log Sqrt Reciprocal Sigmoid Tanh Erf Floor Ceil Round Sign HardSigmoid HardSwish".split(" "),
  ..."LeakyRelu Elu Softplus Softsign Sin Cos Copy Gelu GeluTanh Mish Selu Celu ThresholdedRelu".split(" "),
  ..."Shrink Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh".split(" "),
];
const unaryOps = unaries.filter((op) => op !== "Copy" && op !== "GeluTanh");

/** What alpha and beta are where a node does not say. */
const defaults: Readonly<Record<string, readonly [number, number]>> = {
  HardSigmoid: [0.2, 0.5],
  LeakyRelu: [0.01, 0],
  Elu: [1, 0],
  Selu: [1.6732632423543772, 1.0507009873554805],
  Celu: [1, 0],
  ThresholdedRelu: [1, 0],
  Shrink: [0.5, 0],
};
/** What others call alpha and beta. */
const parameters: Readonly<Record<string, readonly [string, string]>> = {
  Selu: ["alpha", "gamma"],
  Shrink: ["lambd", "bias"],
};

/** y = a op b, broadcast, in float32. */
export function combine(lowering: LoweringContext, op: string, a: Value, b: Value, y: Value): void {
  const { emit, emitFused, as } = lowering;
  const index = binaries.indexOf(op);
  const [isRight, isLeft] = [isScalar(b) && !isSame(b.shape, y.shape), isScalar(a) && !isSame(a.shape, y.shape)];
  const [left, right] = [isLeft ? a : as(a, y.layout), isRight ? b : as(b, y.layout)];
  const fits = (value: Value, repeated: boolean): boolean => repeated || isSame(value.shape, y.shape);
  if (fits(a, isLeft) && fits(b, isRight) && !(isLeft && isRight)) {
    const repeat = isRight ? 1 : isLeft ? 2 : 0;
    if (isStatic(y.shape)) {
      const [elementwise, broadcast] = isRight ? [[left], [right]] : isLeft ? [[right], [left]] : [[left, right], []];
      emitFused("binary", { elementwise, broadcast, results: [y], ints: [index, repeat] });
      return;
    }
    const ints = [index, repeat, ...countOf(lowering, y.shape)];
    emit("binary", { inputs: [left, right], outputs: [y], ints, inPlace: isLeft ? [[0, 1]] : [[0, 0]] });
    return;
  }
  if (combineRows(lowering, index, a, b, y)) return;
  emit("broadcast", { inputs: [a, b], outputs: [y], ints: [index, ...broadcastNest([a, b], y)] });
}

/** Where one operand is a row that each row of the other meets, or a number for each of its rows; whether it is. */
function combineRows({ emitFused, as }: LoweringContext, index: number, a: Value, b: Value, y: Value): boolean {
  const [repeated, other] = isSame(a.shape, y.shape) ? [b, a] : [a, b];
  if (!isStatic(y.shape) || sizeOf(fixed(y.shape)) === 0 || !isSame(other.shape, y.shape)) return false;
  const repeat = repeatOf(repeated, y);
  if (!repeat || !isRowWidth(repeat.width)) return false;
  const { kind, width } = repeat;
  const options = { results: [y], ints: [index, repeated === b ? 1 : 2], width };
  const operand = as(other, y.layout);
  if (kind === "row") emitFused("binaryRow", { ...options, elementwise: [operand], broadcast: [repeated] });
  else emitFused("binaryColumn", { ...options, elementwise: [operand, repeated] });
  return true;
}

/** The operator as the kernels name it. */
const kernelOf = (node: Node): string => {
  if (node.op === "Sum" || node.op === "Mean") return "Add";
  if (node.op === "BitShift") return stringAttribute(node, "direction", "LEFT") === "LEFT" ? "ShiftLeft" : "ShiftRight";
  return node.op === "Mod" && numberAttribute(node, "fmod", 0) === 1 ? "FMod" : node.op;
};

function combineAs(lowering: LoweringContext, op: string, a: Value, b: Value, y: Value): void {
  if (y.dtype === "float32") combine(lowering, op, a, b, y);
  else emitArithmetic(lowering, op, a, b, y);
}

/** A number as a scalar of a value's type. */
const scalarLike = (value: number, { dtype }: Value): Value => constantValue(scalar(dtype, value));

/** Of two or more inputs, one after the other; `end` follows. */
function lowerVariadic(lowering: LoweringContext, end?: (total: Value, y: Value) => void): void {
  const { node, graph, input, output, scratch, define } = lowering;
  const values = node.inputs.map((_, i) => input(i));
  const shape = graph.values.get(node.outputs[0])?.shape ?? [];
  const layout = sharedLayout(values, shape);
  if (values.length === 1) define(0, values[0]);
  if (values.length === 1) return;
  const total = values.slice(1).reduce((left, right, i) => {
    const isLast = i === values.length - 2 && !end;
    const y = isLast ? output(0, layout) : scratch(left.dtype, shape, layout);
    if (y) combineAs(lowering, kernelOf(node), left, right, y);
    return y ?? left;
  }, values[0]);
  const y = end && output(0, layout);
  if (y) end(total, y);
}

const acceptsBinary = (node: Node, graph: Graph, open: Open): boolean =>
  commonType(node, graph) === "float32"
    ? broadcastsKnownSizes(node, graph, open)
    : acceptsArithmetic(kernelOf(node), node, graph, open);

const binary: NativeOp = {
  anyType: true,
  takesRows: true,
  accepts: acceptsBinary,
  lower: (lowering) => lowerVariadic(lowering),
};

const Mean: NativeOp = {
  ...binary,
  lower: (lowering) => {
    const count = lowering.node.inputs.length;
    lowerVariadic(lowering, (total, y) => combineAs(lowering, "Div", total, scalarLike(count, total), y));
  },
};

/** An exponent of another type is cast to the base's, which a fraction would not survive. */
const Pow: NativeOp = {
  anyType: true,
  accepts: (node, graph, open) => {
    const [base, exponent] = node.inputs.map((input) => graph.values.get(input)?.dtype);
    if (base && exponent && !isFloat(base) && isFloat(exponent)) return false;
    const alike = { ...node, inputs: [node.inputs[0]] };
    return acceptsBinary(alike, graph, open) && broadcastsKnownSizes(node, graph, open);
  },
  lower: (lowering) => {
    const { graph, node, input, output } = lowering;
    const a = input(0);
    const b = castTo(lowering, input(1), a.dtype);
    const y = output(0, sharedLayout([a, b], graph.values.get(node.outputs[0])?.shape ?? []));
    if (y) combineAs(lowering, "Pow", a, b, y);
  },
};

/** A size that is known only at the run is broadcast to scalars alone. */
function broadcastsKnownSizes(node: Node, graph: Graph, open: Open): boolean {
  const y = graph.values.get(node.outputs[0])?.shape ?? [];
  if (isSettled(graph, node.outputs[0], open)) return true;
  return node.inputs.every((input) => {
    const shape = graph.values.get(input)?.shape ?? [];
    return isSame(shape, y) || shape.every((size) => size === 1);
  });
}

const unaryKernel = (node: Node): string =>
  node.op === "Gelu" && stringAttribute(node, "approximate", "none") === "tanh" ? "GeluTanh" : node.op;

const unary: NativeOp = {
  anyType: true,
  takesRows: true,
  accepts: (node, graph, open) =>
    commonType(node, graph) === "float32" || acceptsTypedUnary(node.op, node, graph, open),
  lower: (lowering) => {
    const { node, input, output, emit, emitFused } = lowering;
    const x = input(0);
    if (x.dtype !== "float32") return emitTypedUnary(lowering, node.op);
    const y = output(0, x.layout);
    const [alpha, beta] = defaults[node.op] ?? [0, 0];
    const [first, second] = parameters[node.op] ?? ["alpha", "beta"];
    const floats = [numberAttribute(node, first, alpha), numberAttribute(node, second, beta)];
    const index = unaries.indexOf(unaryKernel(node));
    if (isStatic(x.shape)) return emitFused("unary", { elementwise: [x], results: [y], ints: [index], floats });
    emit("unary", {
      inputs: [x],
      outputs: [y],
      ints: [index, ...countOf(lowering, x.shape)],
      floats,
      inPlace: [[0, 0]],
    });
  },
};

const predicate: NativeOp = {
  anyType: true,
  accepts: (node, graph, open) => acceptsTypedUnary(node.op, node, graph, open),
  lower: (lowering) => emitTypedUnary(lowering, lowering.node.op),
};

/** Integers go through a maximum and a minimum. */
function clipIntegers(lowering: LoweringContext): void {
  const { input, optional, output, scratch, define } = lowering;
  const x = input(0);
  const bounds = (["Max", "Min"] as const).flatMap((op, i) => {
    const bound = optional(i + 1);
    return bound ? [[op, bound] as const] : [];
  });
  if (bounds.length === 0) define(0, x);
  bounds.reduce((value, [op, bound], i) => {
    const y = i === bounds.length - 1 ? output(0, x.layout) : scratch(x.dtype, x.shape, x.layout);
    if (y) emitArithmetic(lowering, op, value, bound, y);
    return y ?? value;
  }, x);
}

const Clip: NativeOp = {
  anyType: true,
  takesRows: true,
  accepts: (node, graph, open) => commonType(node, graph) === "float32" || acceptsArithmetic("Max", node, graph, open),
  lower: (lowering) => {
    const { input, optional, output, emit, emitFused } = lowering;
    const x = input(0);
    if (x.dtype !== "float32") return clipIntegers(lowering);
    const [low, high] = [optional(1), optional(2)];
    if (isStatic(x.shape))
      return emitFused("clip", { elementwise: [x], broadcast: [low, high], results: [output(0, x.layout)] });
    const ints = countOf(lowering, x.shape);
    emit("clip", { inputs: [x, low, high], outputs: [output(0, x.layout)], ints, inPlace: [[0, 0]] });
  },
};

const ClipGradient: NativeOp = {
  accepts: (node, graph, open) => isSettled(graph, node.outputs[0], open),
  lower: ({ input, optional, output, emitFused }) => {
    const dy = input(0);
    const bounds = [optional(2), optional(3)];
    emitFused("clipGradient", {
      elementwise: [dy, input(1, dy.layout)],
      broadcast: bounds,
      results: [output(0, dy.layout)],
    });
  },
};

/** Numbered as native/src/kernels.h numbers them. */
const comparisons = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"];
const firstCombination = comparisons.indexOf("And");
/** By type, the one that its comparisons are made in. */
const compared: ReadonlyMap<DType, string> = new Map([
  ...(["float32", "float64", ...integerTypes] as const).map((dtype) => [dtype, dtype] as const),
  ["bool", "uint8"],
]);

/** Whether each operand has y's elements or is one for all of them, and one at least has them. */
const isByElement = (operands: readonly Value[], { shape }: Value): boolean =>
  isStatic(shape) &&
  operands.every((operand) => isScalar(operand) || isSame(operand.shape, shape)) &&
  operands.some((operand) => isSame(operand.shape, shape));

/** Operands as fused operations take them: those with y's elements, those that are one for all, and which are. */
function splitOperands({ as }: LoweringContext, operands: readonly Value[], { shape, layout }: Value) {
  const isOne = operands.map((operand) => !isSame(operand.shape, shape));
  return {
    elementwise: operands.filter((_, i) => !isOne[i]).map((operand) => as(operand, layout)),
    broadcast: operands.filter((_, i) => isOne[i]),
    isOne: isOne.map(Number),
  };
}

function compare(lowering: LoweringContext, op: string, operands: readonly Value[], y: Value): void {
  const { emit, emitFused } = lowering;
  const index = comparisons.indexOf(op);
  const [{ dtype }] = operands;
  if (dtype === "float32" && isByElement(operands, y)) {
    const { elementwise, broadcast, isOne } = splitOperands(lowering, operands, y);
    emitFused("compare", { elementwise, broadcast, results: [y], ints: [index, isOne[1] ? 1 : isOne[0] ? 2 : 0] });
    return;
  }
  const isSameShape = isStatic(y.shape) && operands.every(({ shape }) => isSame(shape, y.shape));
  if (index >= firstCombination && isSameShape) {
    const elementwise = operands.map((operand) => lowering.as(operand, y.layout));
    emitFused("combineConditions", { elementwise, results: [y], ints: [index] });
    return;
  }
  const ints = [index, ...broadcastNest(operands, y)];
  emit(`compare:${compared.get(operands[0].dtype)}`, { inputs: operands, outputs: [y], ints });
}

const comparison: NativeOp = {
  anyType: true,
  accepts: (node, graph) => {
    const [a, b] = node.inputs.map((input) => dtypeOf(graph, input));
    return a !== undefined && a === b && compared.has(a);
  },
  lower: (lowering) => {
    const { graph, node, input, output } = lowering;
    const operands = [input(0), input(1)];
    const y = output(0, sharedLayout(operands, graph.values.get(node.outputs[0])?.shape ?? []));
    if (y) compare(lowering, node.op, operands, y);
  },
};

/** Equal to one of the infinities that are looked for. */
const IsInf: NativeOp = {
  anyType: true,
  accepts: (node, graph) => /^float(32|64)$/.test(dtypeOf(graph, node.inputs[0]) ?? ""),
  lower: (lowering) => {
    const { node, input, output, scratch } = lowering;
    const x = input(0);
    const y = output(0, x.layout);
    if (!y) return;
    const isEqual = (name: string, infinity: number): Value => {
      const holds = scratch("bool", x.shape, x.layout);
      // NaN equals nothing.
      const sought = numberAttribute(node, name, 1) === 0 ? Number.NaN : infinity;
      compare(lowering, "Equal", [x, scalarLike(sought, x)], holds);
      return holds;
    };
    const isPositive = isEqual("detect_positive", Number.POSITIVE_INFINITY);
    compare(lowering, "Or", [isPositive, isEqual("detect_negative", Number.NEGATIVE_INFINITY)], y);
  },
};

/** Where elements or one condition for all decide; whether it is so. */
function select(lowering: LoweringContext, [condition, ...sources]: readonly Value[], y: Value): boolean {
  const { emitFused, as } = lowering;
  if (y.dtype !== "float32" || !isStatic(y.shape)) return false;
  if (isSame(condition.shape, y.shape) && isByElement([condition, ...sources], y)) {
    const { elementwise, broadcast, isOne } = splitOperands(lowering, [condition, ...sources], y);
    emitFused("where", { elementwise, broadcast, results: [y], ints: isOne.slice(1) });
    return true;
  }
  if (!isScalar(condition)) return false;
  if (!sources.every(({ shape }) => isSame(shape, y.shape))) return false;
  const elementwise = sources.map((source) => as(source, y.layout));
  emitFused("select", { elementwise, broadcast: [condition], results: [y] });
  return true;
}

const Where: NativeOp = {
  anyType: true,
  accepts: (node, graph) => {
    const [condition, a, b] = node.inputs.map((input) => dtypeOf(graph, input));
    return condition === "bool" && a === b;
  },
  lower: (lowering) => {
    const { graph, node, input, output, emit } = lowering;
    const operands = [input(0), input(1), input(2)];
    const y = output(0, sharedLayout(operands, graph.values.get(node.outputs[0])?.shape ?? []));
    if (y && !select(lowering, operands, y))
      emit(`where${bytesOf(y.dtype)}`, { inputs: operands, outputs: [y], ints: broadcastNest(operands, y) });
  },
};

const Identity: NativeOp = { anyType: true, takesRows: true, lower: ({ input, define }) => define(0, input(0)) };

/** Nothing is dropped: the mask holds true alone. */
const Dropout: NativeOp = {
  anyType: true,
  lower: ({ input, output, define, emit }) => {
    const x = input(0);
    define(0, x);
    const mask = output(1);
    const value = constantValue(scalar("bool", 1));
    if (mask) emit("fill1", { inputs: [value], outputs: [mask], ints: [sizeOf(fixed(x.shape))] });
  },
};

export const elementwiseOps: Readonly<Record<string, NativeOp>> = {
  ...Object.fromEntries(binaries.filter((op) => op !== "FMod").map((op) => [op, binary])),
  ...Object.fromEntries(unaryOps.map((op) => [op, unary])),
  ...Object.fromEntries(comparisons.map((op) => [op, comparison])),
  Sum: binary,
  Mean,
  Pow,
  IsNaN: predicate,
  IsInf,
  Not: predicate,
  BitwiseNot: predicate,
  BitwiseAnd: binary,
  BitwiseOr: binary,
  BitwiseXor: binary,
  BitShift: binary,
  Where,
  Clip,
  ClipGradient,
  Identity,
  Dropout,
};
