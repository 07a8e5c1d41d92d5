// Reductions, softmax and its cross-entropy.
import type { Graph, Node } from "../../../ir/graph.ts";
import { toNumbers } from "../../../ir/tensor.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import { reducedAxes } from "../../../ops/reducing.ts";
import { isKnown, type LoweringContext, type NativeOp } from "../lowering.ts";
import { collapsed, fixed, isEitherLayout, list, memoryOrder, stridesOf, type Value } from "../plan.ts";
import { isRowWidth } from "./broadcasting.ts";
import { indicesOf } from "./cast.ts";
import { around } from "./quantization.ts";

/** Numbered as native/src/row-kernels.h numbers them. */
const reductions = ["Sum", "Mean", "Max", "Min", "SumSquare", "L1", "L2", "Prod", "LogSumExp"];
const ofReals: ReadonlySet<string> = new Set(["L2", "LogSumExp"]);
/** Those that fused operations compute. */
const alongRows: ReadonlySet<string> = new Set(["Sum", "Mean", "Max", "Min", "SumSquare", "L1", "L2"]);
const downColumns = ["Sum", "Mean"];

/** Over `axes`; the kept axes stay in the order of x's layout where the output has images, else row-major. */
function reduce(lowering: LoweringContext, op: string, x: Value, axes: readonly number[], keeps: boolean): void {
  const { emit, output } = lowering;
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
  if (y && reduceRows(lowering, op, x, nestOf(kept), nestOf(reduced), y)) return;
  emit(kernel, { inputs: [x], outputs: [y], ints: [reductions.indexOf(op), ...nestOf(kept), ...nestOf(reduced)] });
}

/** Fewer rows are not worth dividing among threads. */
const minRows = 64;

/** Along rows that lie one after the other, or down their columns, as fused operations; whether it is. */
function reduceRows(
  { emitFused }: LoweringContext,
  op: string,
  x: Value,
  kept: readonly number[],
  reduced: readonly number[],
  y: Value,
): boolean {
  if (x.dtype !== "float32" || kept[0] !== 1 || reduced[0] !== 1) return false;
  const [[, keptSize, , keptStep], [, reducedSize, , reducedStep]] = [kept, reduced];
  const options = { elementwise: [x], width: reducedStep === 1 ? reducedSize : keptSize };
  if (!isRowWidth(options.width) || Math.max(1, keptSize * reducedSize) / options.width < minRows) return false;
  const isAlong = reducedStep === 1 && keptStep === reducedSize && alongRows.has(op);
  if (isAlong) emitFused("reduceRow", { ...options, results: [y], ints: [reductions.indexOf(op)] });
  const isDown = keptStep === 1 && reducedStep === keptSize && downColumns.includes(op);
  if (isDown) emitFused("sumColumns", { ...options, epilogue: [y], ints: [downColumns.indexOf(op)] });
  return isAlong || isDown;
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
  lower: ({ node, input, output, emit, emitFused }) => {
    const x = input(0);
    const axis = resolveAxis(node, numberAttribute(node, "axis", -1), x.shape.length);
    const layout = isEitherLayout(x.shape) ? "plain" : x.layout;
    const ints = around(fixed(x.shape), axis, layout);
    const [rows, width, inner] = ints;
    const y = output(0, x.layout);
    if (inner === 1 && isRowWidth(width) && rows >= minRows)
      return emitFused("softmaxRow", {
        elementwise: [x],
        results: [y],
        ints: [Number(kernel === "logSoftmax")],
        width,
      });
    emit(kernel, { inputs: [x], outputs: [y], ints, inPlace: [[0, 0]] });
  },
});

const SoftmaxCrossEntropyLoss: NativeOp = {
  anyType: true,
  accepts: (node, graph) => {
    const [logits, labels] = node.inputs.map((input) => graph.values.get(input)?.dtype);
    return logits === "float32" && (labels === "int64" || labels === "int32");
  },
  lower: (lowering) => {
    const { node, input, output, scratch, emit } = lowering;
    const logits = input(0, "plain");
    const loss = output(0) ?? scratch("float32", []);
    const ignored = numberAttribute(node, "ignore_index");
    const ints = [...around(fixed(logits.shape), 1, "plain"), Number(ignored !== undefined), ignored ?? 0];
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
