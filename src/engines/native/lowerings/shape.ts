// Operators that move elements or see them in another shape.
import type { Dim, Graph, Node } from "../../../ir/graph.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute, numbersAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import { type AxisSlice, resolveSlices, type SliceBounds } from "../../../ops/slicing.ts";
import { copyNest, isKnown, isSettled, type LoweringContext, type NativeOp } from "../lowering.ts";
import { bytesOf, fixed, type MemoryLayout, memoryOrder, stridesOf, type Value } from "../plan.ts";
import { isReadInPlace } from "../transposes.ts";

/** The same elements in another shape. */
const view: NativeOp = {
  anyType: true,
  takesRows: true,
  accepts: (node, graph, open) => node.op === "Reshape" || isSettled(graph, node.inputs[0], open),
  lower: ({ graph, node, input, define }) => {
    const x = input(0);
    const shape = graph.values.get(node.outputs[0])?.shape ?? [];
    const plain = String(shape) === String(x.shape) ? x : input(0, "plain");
    define(0, { ...plain, shape });
  },
};

/** Elements of a value, strides apart from `offset` on. */
export interface View {
  readonly value: Value;
  readonly strides: readonly number[];
  readonly offset: number;
}

/** Copies elements of these sizes from one place to another, in the order of the second's memory. */
export function copy({ emit }: LoweringContext, sizes: readonly number[], from: View, to: View): void {
  if (sizeOf(sizes) === 0) return;
  const order = memoryOrder(sizes.length, to.value.layout);
  emit(`copy${bytesOf(to.value.dtype)}`, {
    inputs: [from.value],
    outputs: [to.value],
    ints: [...copyNest(sizes, from.strides, to.strides, order), from.offset, to.offset],
  });
}

export const wholeView = (value: Value): View => ({
  value,
  strides: stridesOf(fixed(value.shape), value.layout),
  offset: 0,
});

/** The elements that slices take of a value. */
function sliced(value: Value, slices: readonly AxisSlice[]): View {
  const all = stridesOf(fixed(value.shape), value.layout);
  const strides = [...all];
  let offset = 0;
  for (const { axis, start, step } of slices) {
    strides[axis] = all[axis] * step;
    offset += start * all[axis];
  }
  return { value, strides, offset };
}

export function fill({ emit }: LoweringContext, y: Value, value?: Value): void {
  emit(`fill${bytesOf(y.dtype)}`, { inputs: [value], outputs: [y], ints: [sizeOf(fixed(y.shape))] });
}

const Transpose: NativeOp = {
  anyType: true,
  lower: (lowering) => {
    if (isReadInPlace(lowering.node, lowering.graph, lowering.uses)) return;
    const x = lowering.input(0);
    const y = lowering.output(0);
    if (!y) return;
    const shape = fixed(x.shape);
    const reversed = shape.map((_, axis) => shape.length - 1 - axis);
    const perm = numbersAttribute(lowering.node, "perm", reversed);
    const strides = stridesOf(shape, x.layout);
    const from = { value: x, strides: perm.map((axis) => strides[axis]), offset: 0 };
    copy(lowering, fixed(y.shape), from, wholeView(y));
  },
};

/** Layouts follow the input; what has one either way follows the output's. */
export const layoutLike = (x: Value): MemoryLayout => (x.shape.length >= 3 ? x.layout : "plain");

const Expand: NativeOp = {
  anyType: true,
  lower: (lowering) => {
    const { graph, node, input, output } = lowering;
    const x = input(0);
    const shape = fixed(graph.values.get(node.outputs[0])?.shape ?? []);
    const own = fixed(x.shape);
    const spreadsImages = shape.length === 4 && own.length === 4 && own[1] === shape[1] && own[2] * own[3] === 1;
    const y = output(0, spreadsImages ? "channelsLast" : layoutLike(x));
    if (!y) return;
    const strides = stridesOf(own, x.layout);
    const lead = shape.length - own.length;
    const from = shape.map((_, axis) => (axis < lead || own[axis - lead] === 1 ? 0 : strides[axis - lead]));
    copy(lowering, shape, { value: x, strides: from, offset: 0 }, wholeView(y));
  },
};

function boundsOf({ constantOf }: LoweringContext): SliceBounds {
  const [starts = [], ends = []] = [constantOf(1), constantOf(2)];
  return { starts, ends, axes: constantOf(3) ?? starts.map((_, i) => i), steps: constantOf(4) ?? starts.map(() => 1) };
}

/** Whether what these inputs hold is known when a plan is made. */
export const areKnown = (node: Node, graph: Graph, inputs: readonly number[]): boolean =>
  inputs.every((i) => isKnown(graph, node.inputs[i]));

const Slice: NativeOp = {
  anyType: true,
  accepts: (node, graph) => areKnown(node, graph, [1, 2, 3, 4]),
  lower: (lowering) => {
    const x = lowering.input(0);
    const y = lowering.output(0, layoutLike(x));
    if (!y) return;
    const slices = resolveSlices(lowering.node, boundsOf(lowering), fixed(x.shape));
    copy(lowering, fixed(y.shape), sliced(x, slices), wholeView(y));
  },
};

const SliceGradient: NativeOp = {
  lower: (lowering) => {
    const { node, input, output } = lowering;
    const dy = input(0);
    const dx = output(0, layoutLike(dy));
    if (!dx) return;
    const [starts, ends, axes, steps] = ["starts", "ends", "axes", "steps"].map((name) =>
      numbersAttribute(node, name, []),
    );
    const slices = resolveSlices(node, { starts, ends, axes, steps }, fixed(dx.shape));
    fill(lowering, dx);
    copy(lowering, fixed(dy.shape), wholeView(dy), sliced(dx, slices));
  },
};

/** The part of `value` that starts at `start` along one axis. */
function viewAt(value: Value, axis: number, start: number): View {
  const view = wholeView(value);
  return { ...view, offset: start * view.strides[axis] };
}

const Concat: NativeOp = {
  anyType: true,
  lower: (lowering) => {
    const { node, input, output } = lowering;
    const parts = node.inputs.map((_, i) => input(i));
    const isLast = parts.some(({ layout, shape }) => layout === "channelsLast" && shape.length >= 3);
    const y = output(0, isLast ? "channelsLast" : "plain");
    if (!y) return;
    const axis = resolveAxis(node, numberAttribute(node, "axis", 0), y.shape.length);
    parts.reduce((start, part) => {
      copy(lowering, fixed(part.shape), wholeView(part), viewAt(y, axis, start));
      return start + fixed(part.shape)[axis];
    }, 0);
  },
};

const Split: NativeOp = {
  anyType: true,
  lower: (lowering) => {
    const { graph, node, input, output } = lowering;
    const x = input(0);
    const axis = resolveAxis(node, numberAttribute(node, "axis", 0), x.shape.length);
    const sizes = node.outputs.map((name): readonly Dim[] => graph.values.get(name)?.shape ?? []);
    node.outputs.reduce((start, _, i) => {
      const y = output(i, layoutLike(x));
      if (y) copy(lowering, fixed(y.shape), viewAt(x, axis, start), wholeView(y));
      return start + (fixed(sizes[i])[axis] ?? 0);
    }, 0);
  },
};

export const shapeOps: Readonly<Record<string, NativeOp>> = {
  Reshape: view,
  Flatten: view,
  Squeeze: view,
  Unsqueeze: view,
  Transpose,
  Expand,
  Slice,
  SliceGradient,
  Concat,
  Split: { ...Split, accepts: (node) => node.outputs.every((output) => output !== "") },
};
