// The gradient of Slice: dy in its place among zeros.

import { numbersAttribute } from "../../../ops/attributes.ts";
import type { Emitter } from "../emitter.ts";
import { type LoweringContext, type LoweringRule, staticShapeOf } from "../lowering.ts";

function slicesOf({ node, type }: LoweringContext): readonly AxisSlice[] {
  const list = (name: string): readonly number[] => numbersAttribute(node, name, []);
  const counts = staticShapeOf(type(0));
  const steps = list("steps");
  return list("axes").map((axis, i) => ({ axis, start: list("starts")[i], step: steps[i] ?? 1, count: counts[axis] }));
}

import { type AxisSlice, largestPlaced, place } from "../place.ts";

const SliceGradient: LoweringRule = (context) => {
  const { node, emit, input, type, set } = context;
  const shape = numbersAttribute(node, "shape", []);
  const sizes = [...staticShapeOf(type(0))];
  const begins = shape.map(() => 0);
  let value = input(0);
  for (const slice of slicesOf(context)) {
    const { axis, start, step, count } = slice;
    const isProduct = step !== 1 && axis >= shape.length - 2 && shape.length >= 2 && shape[axis] <= largestPlaced;
    if (isProduct && type(0).dtype === "float32") {
      value = place(emit, value, slice, { rank: shape.length, size: shape[axis] });
      sizes[axis] = shape[axis];
      continue;
    }
    if (step < 0) value = reverse(emit, value, axis);
    if (Math.abs(step) > 1) value = spread(emit, value, sizes, axis, Math.abs(step));
    begins[axis] = step < 0 ? start + (count - 1) * step : start;
  }
  const ends = shape.map((size, axis) => size - begins[axis] - sizes[axis]);
  const isWhole = [...begins, ...ends].every((pad) => pad === 0);
  set(0, isWhole ? emit.node("Identity", [value]) : emit.node("Pad", [value, emit.ints([...begins, ...ends])]));
};

const reverse = (emit: Emitter, value: string, axis: number): string =>
  emit.node("Slice", [value, emit.ints([-1]), emit.ints([-(2 ** 31)]), emit.ints([axis]), emit.ints([-1])]);

/** Puts `stride − 1` zeros behind every element along an axis; `sizes` becomes the new shape. */
function spread(emit: Emitter, value: string, sizes: number[], axis: number, stride: number): string {
  const split = [...sizes.slice(0, axis + 1), 1, ...sizes.slice(axis + 1)];
  const pads = [...split.map(() => 0), ...split.map((_, i) => (i === axis + 1 ? stride - 1 : 0))];
  const padded = emit.node("Pad", [emit.reshape(value, split), emit.ints(pads)]);
  sizes[axis] *= stride;
  return emit.reshape(padded, sizes);
}

export const indexingLowerings = { SliceGradient } satisfies Record<string, LoweringRule>;
