// Reductions, softmax and its cross-entropy.
import type { Graph, Node } from "../../../ir/graph.ts";
import { toNumbers } from "../../../ir/tensor.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import { reducedAxes } from "../../../ops/reducing.ts";
import { isKnown, type Lowering, type NativeOp } from "../lowering.ts";
import { collapsed, fixed, isEitherLayout, list, memoryOrder, stridesOf, type Value } from "../plan.ts";
import { indicesOf } from "./cast.ts";
import { around } from "./quantization.ts";

/** Numbered as native/src/row-kernels.h numbers them. */
const reductions = ["Sum", "Mean", "Max", "Min", "SumSquare", "L1", "L2", "Prod", "LogSumExp"];
const ofReals: ReadonlySet<string> = new Set(["L2", "LogSumExp"]);

/** Over `axes`; the kept axes stay in the order of x's layout where the output has images, else row-major. */
function reduce({ emit, output }: Lowering, op: string, x: Value, axes: readonly number[], keeps: boolean): void {
  const shape = fixed(x.shape);
  const strides = stridesOf(shape, x.layout);
  const isImage = keeps && shape.length >= 3 && x.layout === "channelsLast";
  const y = output(0, isImage ? "channelsLast" : "plain");
  const order = memoryOrder(shape.length, isImage ? "channelsLast" : "plain");
  const nestOf = (chosen: readonly number[]): readonly number[] => {
    const nest = collapsed({
      sizes: chosen.map((axis) => shape[axis]),
      strides: [chosen.map((axis) => strides[axis])],
    });
    return [...list(nest.sizes), ...list(nest.strides[0])];
  };
  const kept = order.filter((axis) => !axes.includes(axis));
  const reduced = memoryOrder(shape.length, x.layout).filter((axis) => axes.includes(axis));
  const kernel = x.dtype === "float32" ? "reduce" : `reduce:${x.dtype}`;
  emit(kernel, { inputs: [x], outputs: [y], ints: [reductions.indexOf(op), ...nestOf(kept), ...nestOf(reduced)] });
}

function givenAxes(node: Node, graph: Graph): readonly number[] | undefined {
  const constant = graph.constants.get(node.inputs[1] ?? "");
  return constant && toNumbers(constant);
}

const reduction = (op: string): NativeOp => ({
  anyType: true,
  accepts: (node, graph) => {
    const dtype = graph.values.get(node.inputs[0])?.dtype;
    const isInteger = (dtype === "int64" || dtype === "int32") && !ofReals.has(op);
    return (dtype === "float32" || isInteger) && isKnown(graph, node.inputs[1]);
  },
  lower: (lowering) => {
    const { node, graph, input } = lowering;
    const x = input(0);
    const axes = reducedAxes(node, givenAxes(node, graph), x.shape.length);
    reduce(lowering, op, x, axes, numberAttribute(node, "keepdims", 1) === 1);
  },
});

const globalPool = (op: string): NativeOp => ({
  lower: (lowering) => {
    const x = lowering.input(0);
    const spatial = x.shape.map((_, axis) => axis).slice(2);
    reduce(lowering, op, x, spatial, true);
  },
});

const softmax = (kernel: string): NativeOp => ({
  lower: ({ node, input, output, emit }) => {
    const x = input(0);
    const axis = resolveAxis(node, numberAttribute(node, "axis", -1), x.shape.length);
    const layout = isEitherLayout(x.shape) ? "plain" : x.layout;
    const ints = around(fixed(x.shape), axis, layout);
    emit(kernel, { inputs: [x], outputs: [output(0, x.layout)], ints, inPlace: [[0, 0]] });
  },
});

const SoftmaxCrossEntropyLoss: NativeOp = {
  anyType: true,
  accepts: (node, graph) => {
    const [logits, labels] = node.inputs.map((input) => graph.values.get(input)?.dtype);
    return logits === "float32" && (labels === "int64" || labels === "int32");
  },
  lower: (lowering) => {
    const { input, output, scratch, emit } = lowering;
    const logits = input(0, "plain");
    const loss = output(0) ?? scratch("float32", []);
    const ints = around(fixed(logits.shape), 1, "plain");
    emit("crossEntropy", { inputs: [logits, indicesOf(lowering, 1)], outputs: [loss, output(1)], ints });
  },
};

export const reductionOps: Readonly<Record<string, NativeOp>> = {
  ...Object.fromEntries(reductions.map((op) => [`Reduce${op}`, reduction(op)])),
  GlobalAveragePool: globalPool("Mean"),
  GlobalMaxPool: globalPool("Max"),
  Softmax: softmax("softmax"),
  LogSoftmax: softmax("logSoftmax"),
  SoftmaxCrossEntropyLoss,
};
