// Resize, one axis after the other: every element is made of a few.
import type { Graph, Node } from "../../../ir/graph.ts";
import { tensorOf } from "../../../ir/tensor.ts";
import { numberAttribute, stringAttribute } from "../../../ops/attributes.ts";
import { type Interpolation, interpolate, type ResizeAxis, resizePlan } from "../../../ops/interpolation.ts";
import { constantValue, isKnown, type LoweringContext, type NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";
import { around } from "./quantization.ts";
import { gatherAlongAxes, range } from "./rearrange.ts";
import { layoutLike } from "./shape.ts";
import { dtypeOf } from "./typed.ts";

interface Taps {
  /** How many each output coordinate has. */
  readonly count: number;
  /** Indices into the axis, −1 outside the input. */
  readonly places: readonly number[];
  readonly weights: readonly number[];
}

function tapsOf({ matrix, isOutside }: Interpolation, { inputSize, outputSize }: ResizeAxis): Taps {
  const rows = range(outputSize).map((i) => {
    const row = matrix.subarray(i * inputSize, (i + 1) * inputSize);
    return range(inputSize).flatMap((place) => (row[place] === 0 ? [] : [[place, row[place]] as const]));
  });
  const count = Math.max(1, ...rows.map((row) => row.length));
  const filled = rows.flatMap((row, i) => {
    const rest = isOutside[i] ? ([-1, 0] as const) : ([row[0]?.[0] ?? 0, 0] as const);
    return range(count).map((tap) => row[tap] ?? rest);
  });
  return { count, places: filled.map(([place]) => place), weights: filled.map(([, weight]) => weight) };
}

function resizeAxis(lowering: LoweringContext, x: Value, axis: ResizeAxis, taps: Taps, y: Value | undefined): Value {
  const { node, scratch, emit } = lowering;
  const shape = fixed(x.shape);
  const result = y ?? scratch("float32", shape.with(axis.axis, axis.outputSize), x.layout);
  const [outer, , inner] = around(shape, axis.axis, x.layout);
  const { count, places, weights } = taps;
  const table = [
    constantValue(tensorOf("int64", [places.length], places)),
    constantValue(tensorOf("float32", [weights.length], weights)),
  ];
  emit("interpolate", {
    inputs: [x, ...table],
    outputs: [result],
    ints: [outer, axis.inputSize, axis.outputSize, inner, count],
    floats: [numberAttribute(node, "extrapolation_value", 0)],
  });
  return result;
}

/** Every element is one of x's. */
const isNearest = (node: Node): boolean =>
  stringAttribute(node, "mode", "nearest") === "nearest" &&
  stringAttribute(node, "coordinate_transformation_mode", "half_pixel") !== "tf_crop_and_resize";

function accepts(node: Node, graph: Graph): boolean {
  const isMoved = dtypeOf(graph, node.inputs[0]) === "float32" || isNearest(node);
  return isMoved && [1, 2, 3].every((i) => isKnown(graph, node.inputs[i]));
}

const Resize: NativeOp = {
  anyType: true,
  accepts,
  lower: (lowering) => {
    const { node, input, output, constantOf, define } = lowering;
    const x = input(0);
    const plan = resizePlan(node, fixed(x.shape), { roi: constantOf(1), scales: constantOf(2), sizes: constantOf(3) });
    const taps = plan.map((axis) => tapsOf(interpolate(node, axis), axis));
    if (plan.length === 0) return define(0, x);
    if (x.dtype !== "float32") {
      const axes = plan.map(({ axis }, i) => [axis, taps[i].places] as const);
      return gatherAlongAxes(lowering, input(0, "plain"), axes);
    }
    plan.reduce((value, axis, i) => {
      const y = i === plan.length - 1 ? output(0, layoutLike(x)) : undefined;
      return resizeAxis(lowering, value, axis, taps[i], y);
    }, x);
  },
};

export const resizeOps: Readonly<Record<string, NativeOp>> = { Resize };
