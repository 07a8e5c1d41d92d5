// What Slice takes along each axis, with its bounds resolved.
import type { Dim, Node } from "../ir/graph.ts";
import { mismatch } from "./attributes.ts";
import { sumOf } from "./dims.ts";
import { resolveAxis, unknownDim } from "./operands.ts";

/** Elements start, start + step, … (`count` of them) along `axis`. */
export interface AxisSlice {
  readonly axis: number;
  readonly start: number;
  readonly step: number;
  readonly count: number;
}

export interface SliceBounds {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  readonly axes: readonly number[];
  readonly steps: readonly number[];
}

const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

function resolveBounds(start: number, end: number, step: number, size: number): readonly [start: number, end: number] {
  const first = start < 0 ? start + size : start;
  const last = end < 0 ? end + size : end;
  if (step > 0) return [clamp(first, 0, size), clamp(last, 0, size)];
  return [clamp(first, 0, size - 1), clamp(last, -1, size - 1)];
}

/** The slices of a tensor of static shape. */
export function resolveSlices(node: Node, bounds: SliceBounds, shape: readonly number[]): readonly AxisSlice[] {
  return bounds.starts.map((from, i) => {
    const axis = resolveAxis(node, bounds.axes[i], shape.length);
    const step = bounds.steps[i];
    if (step === 0) throw mismatch(node, `its step along axis ${axis} is 0.`);
    const [start, end] = resolveBounds(from, bounds.ends[i], step, shape[axis]);
    return { axis, start, step, count: Math.max(0, Math.ceil((end - start) / step)) };
  });
}

const unbounded = 2 ** 31 - 1;

interface Bounds {
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

/** The size that a slice of a symbolic size has; `undefined` where it cannot be computed. */
function slicedSymbol(dim: string, { start, end, step }: Bounds): Dim | undefined {
  if (step === -1 && start === -1 && end <= -unbounded) return dim;
  if (step === 1 && start >= 0 && end >= unbounded) return sumOf([dim, -start]);
  if (step === 1 && start >= 0 && end < 0) return sumOf([dim, end - start]);
  if (step === 1 && start < 0 && end < 0 && end > start) return end - start;
  return undefined;
}

/** The shape after slicing; sizes may be symbolic. */
export function slicedShape(node: Node, bounds: SliceBounds, shape: readonly Dim[]): readonly Dim[] {
  const result = [...shape];
  bounds.axes.forEach((axisGiven, i) => {
    const axis = resolveAxis(node, axisGiven, shape.length);
    const dim = shape[axis];
    const [start, end, step] = [bounds.starts[i], bounds.ends[i], bounds.steps[i]];
    if (typeof dim === "string") result[axis] = slicedSymbol(dim, { start, end, step }) ?? unknownDim(node, axis);
    else {
      const one = { starts: [start], ends: [end], axes: [0], steps: [step] };
      result[axis] = resolveSlices(node, one, [dim])[0].count;
    }
  });
  return result;
}
