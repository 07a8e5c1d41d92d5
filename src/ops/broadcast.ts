// NumPy's broadcasting of shapes whose sizes may be symbolic.
import type { Dim, Node } from "../ir/graph.ts";
import { mismatch, printShape } from "./attributes.ts";
import { unknownDim } from "./operands.ts";

/** Two sizes as one; `undefined` where only a run can tell, `null` where they contradict each other. */
function broadcastDim(a: Dim, b: Dim): Dim | undefined | null {
  if (a === b || b === 1) return a;
  if (a === 1) return b;
  if (typeof a === "number") return typeof b === "number" ? null : a;
  return typeof b === "number" ? b : undefined;
}

export function broadcastShapes(node: Node, shapes: readonly (readonly Dim[])[]): readonly Dim[] {
  const rank = shapes.reduce((most, { length }) => Math.max(most, length), 0);
  const result: Dim[] = Array.from({ length: rank }, () => 1);
  for (const shape of shapes)
    shape.forEach((dim, i) => {
      const axis = rank - shape.length + i;
      const merged = broadcastDim(result[axis], dim);
      if (merged === null) throw mismatch(node, `cannot broadcast ${shapes.map(printShape).join(" with ")}.`);
      result[axis] = merged ?? unknownDim(node, axis);
    });
  return result;
}
