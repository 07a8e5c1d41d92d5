// Repairs broadcasting: the gradient of a value that was broadcast is summed back to that value's shape.
import type { Builder } from "../ir/builder.ts";
import type { Dim } from "../ir/graph.ts";

export function sumToShape(build: Builder, dx: string, shape: readonly Dim[]): string {
  const from = build.type(dx).shape;
  const lead = from.length - shape.length;
  const axes = from.flatMap((size, axis) => (axis < lead || (shape[axis - lead] === 1 && size !== 1) ? [axis] : []));
  const summed = axes.length > 0 ? build.node("ReduceSum", [dx, build.ints(axes)], { keepdims: 1 }) : dx;
  return lead > 0 ? build.node("Reshape", [summed, build.ints(shape.map(Number))]) : summed;
}
