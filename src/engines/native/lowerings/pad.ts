// Pad: with a value, or with the input's own elements.
import { stringAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import type { LoweringContext, NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";
import { gatherAlongAxes, range } from "./rearrange.ts";
import { areKnown, copy, fill, layoutLike, type View, wholeView } from "./shape.ts";

/** The index in an axis that a padded coordinate reads. */
function mirrored(mode: string, at: number, size: number): number {
  if (mode === "edge") return Math.min(Math.max(at, 0), size - 1);
  if (mode === "wrap") return ((at % size) + size) % size;
  const period = Math.max(1, 2 * (size - 1));
  const wrapped = ((at % period) + period) % period;
  return Math.min(wrapped, period - wrapped);
}

/** Pad in the modes that repeat the input's own elements. */
function padWithOwn(lowering: LoweringContext, mode: string): void {
  const x = lowering.input(0, "plain");
  const shape = fixed(x.shape);
  const axes = lowering.constantOf(3) ?? range(shape.length);
  const pads = lowering.constantOf(1) ?? [];
  const changed = axes.flatMap((given, i) => {
    const axis = resolveAxis(lowering.node, given, shape.length);
    const [begin, end] = [pads[i], pads[i + axes.length]];
    const places = range(shape[axis] + begin + end).map((at) => mirrored(mode, at - begin, shape[axis]));
    return begin === 0 && end === 0 ? [] : [[axis, places] as const];
  });
  gatherAlongAxes(lowering, x, changed);
}

const Pad: NativeOp = {
  anyType: true,
  accepts: (node, graph) => areKnown(node, graph, [1, 3]),
  lower: (lowering) => {
    const { node, input, output, optional, constantOf } = lowering;
    const mode = stringAttribute(node, "mode", "constant");
    if (mode !== "constant") return padWithOwn(lowering, mode);
    const x = input(0);
    const y = output(0, layoutLike(x));
    if (!y) return;
    const shape = fixed(x.shape);
    const axes = constantOf(3) ?? shape.map((_, axis) => axis);
    const begins = shape.map(() => 0);
    const sizes = [...shape];
    axes.forEach((given, i) => {
      const axis = resolveAxis(node, given, shape.length);
      const [begin, end] = [constantOf(1)?.[i] ?? 0, constantOf(1)?.[i + axes.length] ?? 0];
      begins[axis] = begin;
      sizes[axis] += Math.min(0, begin) + Math.min(0, end);
    });
    fill(lowering, y, optional(2));
    const shifted = (value: Value, sign: number): View => {
      const view = wholeView(value);
      const offset = view.strides.reduce((sum, step, axis) => sum + step * Math.max(0, sign * begins[axis]), 0);
      return { ...view, offset };
    };
    copy(lowering, sizes, shifted(x, -1), shifted(y, 1));
  },
};

export const padOps: Readonly<Record<string, NativeOp>> = { Pad };
