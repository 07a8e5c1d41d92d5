// Which elements of a tensor share a scale and a zero point.
import type { Attribute, Dim, Node } from "../ir/graph.ts";
import { sizeOf } from "../ir/tensor.ts";
import { mismatch, numberAttribute } from "./attributes.ts";
import { resolveAxis } from "./operands.ts";

/** One scale for each index along `axis`. */
interface AxisGranularity {
  readonly axis: number;
}

/** One scale for each `groupSize` consecutive indices along `axis`; the last group may be smaller. */
export interface GroupGranularity extends AxisGranularity {
  readonly groupSize: number;
}

export type Granularity = "tensor" | AxisGranularity | GroupGranularity;

export const isGrouped = (granularity: Granularity): granularity is GroupGranularity =>
  granularity !== "tensor" && "groupSize" in granularity;

/** What a node's attributes say, which have ONNX's names; the axis is counted from the front where the rank is given. */
export function granularityOf(node: Node, rank?: number): Granularity {
  const axisAttribute = numberAttribute(node, "axis");
  if (axisAttribute === undefined) return "tensor";
  const axis = rank === undefined ? axisAttribute : resolveAxis(node, axisAttribute, rank);
  const groupSize = numberAttribute(node, "block_size", 0);
  if (groupSize < 0) throw mismatch(node, `block_size is ${groupSize}; expected a positive number.`);
  return groupSize === 0 ? { axis } : { axis, groupSize };
}

/** The same as a node's attributes. */
export function granularityAttributes(granularity: Granularity): Readonly<Record<string, Attribute>> {
  if (granularity === "tensor") return {};
  const { axis } = granularity;
  return isGrouped(granularity) ? { axis, block_size: granularity.groupSize } : { axis };
}

/** As messages name it: "per tensor", "along axis 0", "in groups of 32 along axis 1". */
export function printGranularity(granularity: Granularity): string {
  if (granularity === "tensor") return "per tensor";
  const along = `along axis ${granularity.axis}`;
  return isGrouped(granularity) ? `in groups of ${granularity.groupSize} ${along}` : along;
}

/**
 * The shape of a weight's scales. In groups it has the weight's rank: rows and groups of inputs are along the first two axes, and
 * the window behind them shares its scales.
 */
export function scaleShape(shape: readonly number[], granularity: Granularity): readonly number[] {
  if (granularity === "tensor") return [];
  const { axis } = granularity;
  if (!isGrouped(granularity)) return [shape[axis]];
  const groups = Math.ceil(shape[axis] / granularity.groupSize);
  return shape.map((size, i) => (i === axis ? groups : i < 2 ? size : 1));
}

const isSame = (a: Dim | undefined, b: Dim): boolean => typeof a === "string" || typeof b === "string" || a === b;

/**
 * Whether scales of this shape belong to a tensor. In groups they have its rank; axes before the grouped one all keep their sizes
 * or all are 1, and from some axis behind it on all are 1.
 */
export function fitsScale(shape: readonly Dim[], granularity: Granularity, scale: readonly Dim[]): boolean {
  if (granularity === "tensor") return scale.length === 0;
  const { axis } = granularity;
  if (!isGrouped(granularity)) return scale.length === 1 && isSame(scale[0], shape[axis]);
  if (scale.length !== shape.length) return false;
  const size = shape[axis];
  const groups = typeof size === "number" ? Math.ceil(size / granularity.groupSize) : size;
  const keeps = (i: number): boolean => isSame(scale[i], shape[i]);
  const before = Array.from({ length: axis }, (_, i) => i);
  const leads = before.every(keeps) || before.every((i) => scale[i] === 1);
  const end = windowStart(axis, scale);
  return leads && isSame(scale[axis], groups) && scale.slice(0, end).every((_, i) => i <= axis || keeps(i));
}

/** The first axis behind the grouped one from which on all scales are shared. */
function windowStart(axis: number, scale: readonly Dim[]): number {
  let end = scale.length;
  while (end > axis + 1 && scale[end - 1] === 1) end--;
  return end;
}

/** The axis of FakeQuantizeGradient's rows in x; scales in groups have their rows along the same axis. */
export function rowAxisOfGradient(node: Node, granularity: Granularity): number {
  if (granularity === "tensor") throw mismatch(node, "it has rows but no axis.");
  if (!isGrouped(granularity)) return granularity.axis;
  const axis = numberAttribute(node, "row_axis");
  if (axis === undefined || axis === granularity.axis)
    throw mismatch(
      node,
      `its rows are along axis ${axis}; expected an axis other than the groups' ${granularity.axis}.`,
    );
  return axis;
}

/** A tensor as [outer, size, inner, window]: the element [o, i, n, k] has the scale [o or 0, ⌊i / group⌋, n]. */
export interface ScaleLayout {
  readonly outer: number;
  readonly size: number;
  readonly inner: number;
  readonly window: number;
  readonly group: number;
  readonly groups: number;
  /** Whether each outer index has its own scales. */
  readonly keepsOuter: boolean;
}

export function scaleLayout(shape: readonly number[], granularity: Granularity, scale: readonly number[]): ScaleLayout {
  if (granularity === "tensor")
    return { outer: 1, size: 1, inner: 1, window: sizeOf(shape), group: 1, groups: 1, keepsOuter: false };
  const { axis } = granularity;
  const [outer, size] = [sizeOf(shape.slice(0, axis)), shape[axis]];
  if (!isGrouped(granularity))
    return { outer, size, inner: 1, window: sizeOf(shape.slice(axis + 1)), group: 1, groups: size, keepsOuter: false };
  const end = windowStart(axis, scale);
  return {
    outer,
    size,
    inner: sizeOf(shape.slice(axis + 1, end)),
    window: sizeOf(shape.slice(end)),
    group: granularity.groupSize,
    groups: scale[axis],
    keepsOuter: sizeOf(scale.slice(0, axis)) === outer,
  };
}

/** Calls `visit` for the runs of adjacent elements that share a scale, in the order of memory. */
export function forEachRun(layout: ScaleLayout, visit: (start: number, end: number, scale: number) => void): void {
  const { outer, size, inner, window, group, groups, keepsOuter } = layout;
  let start = 0;
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < size; i++) {
      const first = ((keepsOuter ? o : 0) * groups + Math.floor(i / group)) * inner;
      for (let n = 0; n < inner; n++, start += window) visit(start, start + window, first + n);
    }
}
