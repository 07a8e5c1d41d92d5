// What the reductions share: their axes, shapes and the way back.
import type { Builder } from "../ir/builder.ts";
import type { Dim, Node } from "../ir/graph.ts";
import { sizeOf } from "../ir/tensor.ts";
import { type Arithmetic, arithmetic, shapeOf } from "./arithmetic.ts";
import { numberAttribute } from "./attributes.ts";
import type { CostRule, GradientRule, InferRule } from "./definition.ts";
import { productOf, sumOf } from "./dims.ts";
import { knownNumbers, operand, resolveAxis, withElements } from "./operands.ts";

/** The reduced axes of a node whose axes input holds `axes`. */
export function reducedAxes(node: Node, axes: readonly number[] | undefined, rank: number): readonly number[] {
  if (axes && axes.length > 0)
    return [...new Set(axes.map((axis) => resolveAxis(node, axis, rank)))].sort((a, b) => a - b);
  const keepsAll = numberAttribute(node, "noop_with_empty_axes", 0) === 1;
  return keepsAll ? [] : Array.from({ length: rank }, (_, axis) => axis);
}

export const keepsAxes = (node: Node): boolean => numberAttribute(node, "keepdims", 1) === 1;

export function reducedShape<D extends Dim>(
  shape: readonly D[],
  axes: readonly number[],
  keeps: boolean,
): readonly (D | 1)[] {
  if (keeps) return shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim));
  return shape.filter((_, axis) => !axes.includes(axis));
}

/** `fold` gives the contents of a reduced vector. */
export const inferReduction =
  (fold?: (elements: readonly Dim[]) => Dim | undefined): InferRule =>
  (context) => {
    const { dtype, shape } = operand(context, 0);
    const axes = reducedAxes(context.node, knownNumbers(context, 1, "axes"), shape.length);
    const elements = shape.length === 1 && axes.length === 1 ? context.elements(0) : undefined;
    const folded = elements && fold?.(elements);
    const reduced = reducedShape(shape, axes, keepsAxes(context.node));
    return [withElements(dtype, reduced, folded === undefined ? undefined : [folded])];
  };

export const foldSum = (elements: readonly Dim[]): Dim => sumOf(elements);
export const foldProduct = (elements: readonly Dim[]): Dim => productOf(elements);

/** One multiply-add for each element of the input. */
export const costPerInput: CostRule = ([input]) => ({ multiplyAdds: sizeOf(input ?? []) });

export interface ReductionGradient extends Arithmetic {
  /** dy and y, with the reduced axes as ones. */
  readonly dy: string;
  readonly y: string;
  readonly x: string;
  readonly build: Builder;
  /** How many elements became one. */
  readonly count: () => string;
  /** The same reduction of another value, by another operator, reduced axes kept. */
  readonly reduce: (op: string, value: string) => string;
  /** Repeats a value to x's shape. */
  readonly spread: (value: string) => string;
}

function axesFromShapes(build: Builder, node: Node): readonly number[] {
  const { elements } = build.type(node.inputs[1] ?? "");
  return elements?.map(Number) ?? [];
}

/** dx, from a dy that broadcasts against x. */
export const reductionRule =
  (dx: (gradient: ReductionGradient) => string): GradientRule =>
  ({ node, build, dys: [dy] }) => {
    if (dy === undefined) return [];
    const [x, axesInput] = node.inputs;
    const { shape } = build.type(x);
    const constant = axesInput ? build.constantOf(axesInput) : undefined;
    const given = constant ? Array.from(constant.data as ArrayLike<number | bigint>, Number) : undefined;
    const axes = reducedAxes(node, given ?? (axesInput ? axesFromShapes(build, node) : undefined), shape.length);
    const list = build.ints(axes);
    const widen = (value: string): string =>
      keepsAxes(node) || axes.length === 0 ? value : build.node("Unsqueeze", [value, list]);
    const math = arithmetic(build, dy);
    return [
      dx({
        ...math,
        dy: widen(dy),
        y: widen(node.outputs[0]),
        x,
        build,
        count: () => countOf(build, math, x, axes),
        reduce: (op, value) =>
          axes.length === 0
            ? build.node(op, [value], { keepdims: 1, noop_with_empty_axes: 1 })
            : build.node(op, [value, list], { keepdims: 1 }),
        spread: (value) => build.node("Expand", [value, shapeOf(build, x)]),
      }),
    ];
  };

function countOf(build: Builder, { of, cast }: Arithmetic, x: string, axes: readonly number[]): string {
  const { shape, dtype } = build.type(x);
  const count = productOf(axes.map((axis) => shape[axis]));
  if (typeof count === "number") return of(count);
  const sizes = build.node("Gather", [build.node("Shape", [x]), build.ints(axes)], { axis: 0 });
  return cast(build.node("ReduceProd", [sizes], { keepdims: 0 }), dtype);
}
