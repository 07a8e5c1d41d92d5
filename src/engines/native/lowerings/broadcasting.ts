// How values of different shapes and layouts are read together, element by element.
import type { Dim } from "../../../ir/graph.ts";
import { isStatic } from "../../../ops/dims.ts";
import type { LoweringContext } from "../lowering.ts";
import {
  collapsed,
  fixed,
  isEitherLayout,
  list,
  type MemoryLayout,
  memoryOrder,
  stridesOf,
  type Value,
} from "../plan.ts";

export const isScalar = ({ shape }: Value): boolean => shape.every((size) => size === 1);
export const isSame = (a: readonly Dim[], b: readonly Dim[]): boolean =>
  a.length === b.length && String(a) === String(b);

/** The layout in which an element's neighbours lie for most of the operands. */
export function sharedLayout(values: readonly Value[], shape: readonly Dim[]): MemoryLayout {
  const deciding = values.filter((value) => isSame(value.shape, shape) && !isEitherLayout(value.shape));
  return deciding.some(({ layout }) => layout === "channelsLast") ? "channelsLast" : "plain";
}

/** Sizes and their most, as the steps count elements. */
export function countOf({ size, maxSize }: LoweringContext, shape: readonly Dim[]): readonly number[] {
  const whole = shape.reduce<number>((product, dim) => product * maxSize(dim), 1);
  return isStatic(shape) ? [...list([whole]), whole] : [...list(shape.map(size)), whole];
}

/** Strides of `value` along the axes of the shape that it is broadcast to. */
function broadcastStrides(value: Value, rank: number): readonly number[] {
  const shape = fixed(value.shape);
  const own = stridesOf(shape, value.layout);
  const lead = rank - shape.length;
  return Array.from({ length: rank }, (_, axis) => (axis < lead || shape[axis - lead] === 1 ? 0 : own[axis - lead]));
}

/** The loops over y's elements in the order of its memory, with the operands' strides. */
export function broadcastNest(operands: readonly Value[], y: Value): readonly number[] {
  const shape = fixed(y.shape);
  const order = memoryOrder(shape.length, y.layout);
  const strides = operands.map((value) => {
    const all = broadcastStrides(value, shape.length);
    return order.map((axis) => all[axis]);
  });
  const nest = collapsed({ sizes: order.map((axis) => shape[axis]), strides });
  return [...list(nest.sizes), ...nest.strides.flatMap(list)];
}

/** Rows that are worth a loop of their own, and that still fit the cache. */
const [minColumns, maxColumns] = [16, 1 << 12];

export const isRowWidth = (width: number): boolean => width >= minColumns && width <= maxColumns;

/** How y's memory repeats a value: as a row after row of so many elements, or each of its elements so many times. */
export function repeatOf(
  value: Value,
  y: Value,
): { readonly kind: "row" | "column"; readonly width: number } | undefined {
  const shape = fixed(y.shape);
  const all = broadcastStrides(value, shape.length);
  const order = memoryOrder(shape.length, y.layout);
  const { sizes, strides } = collapsed({
    sizes: order.map((axis) => shape[axis]),
    strides: [order.map((axis) => all[axis])],
  });
  if (sizes.length !== 2) return undefined;
  const [outer, inner] = strides[0];
  if (outer === 0 && inner === 1) return { kind: "row", width: sizes[1] };
  return outer === 1 && inner === 0 ? { kind: "column", width: sizes[1] } : undefined;
}
