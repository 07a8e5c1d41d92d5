// Operators that work element by element.
import type { Dim, Graph, Node } from "../../../ir/graph.ts";
import { numberAttribute, stringAttribute } from "../../../ops/attributes.ts";
import { isStatic } from "../../../ops/dims.ts";
import { isSettled, type Lowering, type NativeOp, type Open } from "../lowering.ts";
import { collapsed, fixed, isEitherLayout, type Layout, list, memoryOrder, stridesOf, type Value } from "../plan.ts";

/** Numbered as native/src/kernels.h numbers them. */
const binaries = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "ReluGradient"] as const;
const unaries = [
  ..."Relu Neg Abs Exp Log Sqrt Reciprocal Sigmoid Tanh Erf Floor Ceil Round Sign HardSigmoid HardSwish".split(" "),
  ..."LeakyRelu Elu Softplus Softsign Sin Cos Copy".split(" "),
];

/** What alpha and beta are where a node does not say. */
const defaults: Readonly<Record<string, readonly [number, number]>> = {
  HardSigmoid: [0.2, 0.5],
  LeakyRelu: [0.01, 0],
  Elu: [1, 0],
};

const isScalar = ({ shape }: Value): boolean => shape.every((size) => size === 1);
const isSame = (a: readonly Dim[], b: readonly Dim[]): boolean => a.length === b.length && String(a) === String(b);

/** The layout in which an element's neighbours lie for most of the operands. */
function sharedLayout(values: readonly Value[], shape: readonly Dim[]): Layout {
  const deciding = values.filter((value) => isSame(value.shape, shape) && !isEitherLayout(value.shape));
  return deciding.some(({ layout }) => layout === "channelsLast") ? "channelsLast" : "plain";
}

/** Sizes and their most, as the steps count elements. */
function countOf({ size, most }: Lowering, shape: readonly Dim[]): readonly number[] {
  const whole = shape.reduce<number>((product, dim) => product * most(dim), 1);
  return isStatic(shape) ? [...list([whole]), whole] : [...list(shape.map(size)), whole];
}

/** Strides of `value` along the axes of the shape that it is broadcast to. */
function broadcastStrides(value: Value, rank: number): readonly number[] {
  const shape = fixed(value.shape);
  const own = stridesOf(shape, value.layout);
  const lead = rank - shape.length;
  return Array.from({ length: rank }, (_, axis) => (axis < lead || shape[axis - lead] === 1 ? 0 : own[axis - lead]));
}

function combine(lowering: Lowering, op: number, a: Value, b: Value, y: Value): void {
  const { emit, emitPart, as } = lowering;
  const [isRight, isLeft] = [isScalar(b) && !isSame(b.shape, y.shape), isScalar(a) && !isSame(a.shape, y.shape)];
  const [left, right] = [isLeft ? a : as(a, y.layout), isRight ? b : as(b, y.layout)];
  const fits = (value: Value, repeated: boolean): boolean => repeated || isSame(value.shape, y.shape);
  if (fits(a, isLeft) && fits(b, isRight) && !(isLeft && isRight)) {
    const repeat = isRight ? 1 : isLeft ? 2 : 0;
    if (isStatic(y.shape)) {
      const [streams, whole] = isRight ? [[left], [right]] : isLeft ? [[right], [left]] : [[left, right], []];
      emitPart("binary", { streams, whole, results: [y], ints: [op, repeat] });
      return;
    }
    const ints = [op, repeat, ...countOf(lowering, y.shape)];
    emit("binary", { inputs: [left, right], outputs: [y], ints, inPlace: isLeft ? [[0, 1]] : [[0, 0]] });
    return;
  }
  emit("broadcast", { inputs: [a, b], outputs: [y], ints: [op, ...broadcastNest([a, b], y)] });
}

/** The loops over y's elements in the order of its memory, with the operands' strides. */
function broadcastNest(operands: readonly Value[], y: Value): readonly number[] {
  const shape = fixed(y.shape);
  const order = memoryOrder(shape.length, y.layout);
  const strides = operands.map((value) => {
    const all = broadcastStrides(value, shape.length);
    return order.map((axis) => all[axis]);
  });
  const nest = collapsed({ sizes: order.map((axis) => shape[axis]), strides });
  return [...list(nest.sizes), ...nest.strides.flatMap(list)];
}

/** Of two or more inputs, one after the other. */
const binary = (op: string): NativeOp => ({
  takesRows: true,
  accepts: (node, graph, open) => broadcastsKnownSizes(node, graph, open),
  lower: (lowering) => {
    const { node, graph, input, output, scratch, as, define } = lowering;
    const values = node.inputs.map((_, i) => input(i));
    const shape = graph.values.get(node.outputs[0])?.shape ?? [];
    const layout = sharedLayout(values, shape);
    const index = binaries.indexOf(op as (typeof binaries)[number]);
    if (values.length === 1) return define(0, as(values[0], layout));
    values.slice(1).reduce((left, right, i) => {
      const y = i === values.length - 2 ? output(0, layout) : scratch("float32", shape, layout);
      if (y) combine(lowering, index, left, right, y);
      return y ?? left;
    }, values[0]);
  },
});

/** A size that is known only at the run is broadcast to scalars alone. */
function broadcastsKnownSizes(node: Node, graph: Graph, open: Open): boolean {
  const y = graph.values.get(node.outputs[0])?.shape ?? [];
  if (isSettled(graph, node.outputs[0], open)) return true;
  return node.inputs.every((input) => {
    const shape = graph.values.get(input)?.shape ?? [];
    return isSame(shape, y) || shape.every((size) => size === 1);
  });
}

const unary = (op: string): NativeOp => ({
  takesRows: true,
  lower: (lowering) => {
    const { node, input, output, emit, emitPart } = lowering;
    const x = input(0);
    const y = output(0, x.layout);
    const [alpha, beta] = defaults[op] ?? [0, 0];
    const floats = [numberAttribute(node, "alpha", alpha), numberAttribute(node, "beta", beta)];
    const index = unaries.indexOf(op);
    if (isStatic(x.shape)) return emitPart("unary", { streams: [x], results: [y], ints: [index], floats });
    emit("unary", {
      inputs: [x],
      outputs: [y],
      ints: [index, ...countOf(lowering, x.shape)],
      floats,
      inPlace: [[0, 0]],
    });
  },
});

const Clip: NativeOp = {
  takesRows: true,
  lower: (lowering) => {
    const { input, optional, output, emit, emitPart } = lowering;
    const x = input(0);
    const [low, high] = [optional(1), optional(2)];
    if (isStatic(x.shape))
      return emitPart("clip", { streams: [x], whole: [low, high], results: [output(0, x.layout)] });
    const ints = countOf(lowering, x.shape);
    emit("clip", { inputs: [x, low, high], outputs: [output(0, x.layout)], ints, inPlace: [[0, 0]] });
  },
};

const casts: ReadonlySet<string> = new Set([
  ..."float32:int64 int64:float32 int32:int64 int64:int32 int32:float32 float32:int32 bool:float32 float32:bool".split(
    " ",
  ),
]);

const Cast: NativeOp = {
  anyType: true,
  accepts: (node, graph) => {
    const [from, to] = [graph.values.get(node.inputs[0])?.dtype, stringAttribute(node, "to", "")];
    return from === to || casts.has(`${from}:${to}`);
  },
  lower: ({ node, input, output, define, emit }) => {
    const x = input(0);
    const to = stringAttribute(node, "to", "");
    if (x.dtype === to) return define(0, x);
    const ints = [fixed(x.shape).reduce((product, size) => product * size, 1)];
    emit(`cast:${x.dtype}:${to}`, { inputs: [x], outputs: [output(0, x.layout)], ints });
  },
};

/** Numbered as native/src/steps/elementwise.cpp numbers them. */
const comparisons = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or"];

const comparison = (op: string): NativeOp => ({
  ...(op === "And" || op === "Or" ? { conditions: [0, 1] } : {}),
  decides: true,
  lower: ({ graph, node, input, output, emit }) => {
    const operands = [input(0), input(1)];
    const y = output(0, sharedLayout(operands, graph.values.get(node.outputs[0])?.shape ?? []));
    if (!y) return;
    const ints = [comparisons.indexOf(op), ...broadcastNest(operands, y)];
    emit(operands[0].dtype === "bool" ? "compareBool" : "compare", { inputs: operands, outputs: [y], ints });
  },
});

const Where: NativeOp = {
  conditions: [0],
  lower: ({ graph, node, input, output, emit }) => {
    const operands = [input(0), input(1), input(2)];
    const y = output(0, sharedLayout(operands, graph.values.get(node.outputs[0])?.shape ?? []));
    if (y) emit("where", { inputs: operands, outputs: [y], ints: broadcastNest(operands, y) });
  },
};

const Identity: NativeOp = { anyType: true, takesRows: true, lower: ({ input, define }) => define(0, input(0)) };

export const elementwiseOps: Readonly<Record<string, NativeOp>> = {
  ...Object.fromEntries(binaries.map((op) => [op, binary(op)])),
  ...Object.fromEntries(unaries.filter((op) => op !== "Copy").map((op) => [op, unary(op)])),
  ...Object.fromEntries(comparisons.map((op) => [op, comparison(op)])),
  Sum: binary("Add"),
  Where,
  Clip,
  Cast,
  Identity,
};
