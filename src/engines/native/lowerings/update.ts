// Optimizer steps; the plan makes them work in place.
import { numberAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import type { LoweringContext, NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";
import { around } from "./quantization.ts";

/** Around the rows' axis, how many rows there are and how many there may be. */
function changed(
  { node, size, maxSize }: LoweringContext,
  w: Value,
  g: Value,
  rows: Value | undefined,
): readonly number[] {
  const shape = fixed(w.shape);
  if (!rows) return [...around(shape, undefined, "plain"), 1, 1];
  const axis = resolveAxis(node, numberAttribute(node, "axis", 0), shape.length);
  return [
    ...around(shape, axis, "plain"),
    size(rows.shape[0]),
    Math.min(maxSize(rows.shape[0]), maxSize(g.shape[axis])),
  ];
}

const SgdUpdate: NativeOp = {
  integers: [4],
  takesRows: true,
  lower: (lowering) => {
    const { node, input, optional, output, scratch, emit } = lowering;
    const [w, g, velocity] = [input(0, "plain"), input(1, "plain"), input(2, "plain")];
    const rows = optional(4);
    const next = (i: number): Value => output(i) ?? scratch("float32", w.shape);
    emit("sgd", {
      inputs: [w, g, velocity, input(3), rows],
      outputs: [next(0), next(1)],
      ints: changed(lowering, w, g, rows),
      floats: [numberAttribute(node, "momentum", 0), numberAttribute(node, "weightDecay", 0)],
      inPlace: [
        [0, 0],
        [1, 2],
      ],
    });
  },
};

const AdamUpdate: NativeOp = {
  integers: [6],
  takesRows: true,
  lower: (lowering) => {
    const { node, input, optional, output, scratch, emit } = lowering;
    const isDecoupled = numberAttribute(node, "decoupled", 0) === 1;
    const [w, g, m, v, step] = [0, 1, 2, 3, 4].map((i) => input(i, "plain"));
    const rows = optional(6);
    const next = (i: number): Value => output(i) ?? scratch("float32", i === 3 ? step.shape : w.shape);
    emit("adam", {
      inputs: [w, g, m, v, step, input(5), rows],
      outputs: [next(0), next(1), next(2), next(3)],
      ints: [...changed(lowering, w, g, rows), fixed(step.shape).reduce((product, size) => product * size, 1)],
      floats: [
        numberAttribute(node, "beta1", 0.9),
        numberAttribute(node, "beta2", 0.999),
        numberAttribute(node, "epsilon", 1e-8),
        isDecoupled ? 0 : numberAttribute(node, "weightDecay", 0),
        isDecoupled ? numberAttribute(node, "weightDecay", 0) : 0,
      ],
      inPlace: [
        [0, 0],
        [1, 2],
        [2, 3],
        [3, 4],
      ],
    });
  },
};

export const updateOps: Readonly<Record<string, NativeOp>> = { SgdUpdate, AdamUpdate };
