// Gathers and one-hot rows.
import { halfOf } from "../../../ir/half.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { isStatic } from "../../../ops/dims.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import { constantValue, isKnown, isSettled, type LoweringContext, type NativeOp } from "../lowering.ts";
import { bytesOf, fixed, type Value } from "../plan.ts";
import { isShared } from "../shared-constants.ts";
import { indicesOf } from "./cast.ts";
import { around } from "./quantization.ts";

const Gather: NativeOp = {
  anyType: true,
  takesRows: true,
  accepts: (node, graph, open) => {
    const [x, indices] = node.inputs;
    const type = graph.values.get(indices);
    return (
      (type?.dtype === "int64" || (type?.dtype === "int32" && isSettled(graph, indices, open))) &&
      (type.shape.length === 1 || isSettled(graph, indices, open)) &&
      isSettled(graph, x, open)
    );
  },
  lower: (lowering) => {
    const { node, output, scratch, emit, emitFused, size, maxSize } = lowering;
    const [x, indices] = [tableOf(lowering), indicesOf(lowering, 1)];
    const axis = resolveAxis(node, numberAttribute(node, "axis", 0), x.shape.length);
    const count = isStatic(indices.shape) ? sizeOf(indices.shape) : indices.shape[0];
    const y = output(0);
    const isHalf = y !== undefined && y.dtype !== x.dtype;
    const found = isHalf ? scratch(x.dtype, y.shape) : y;
    emit(`gather${bytesOf(x.dtype)}`, {
      inputs: [x, indices],
      outputs: [found],
      ints: [...around(fixed(x.shape), axis, "plain"), size(count), maxSize(count)],
    });
    if (isHalf) emitFused(`widen:${x.dtype}`, { elementwise: [found], results: [y], isOpen: true });
  },
};

/** Where products are of bfloat16, a large table whose numbers were read from 16 bits is held in these. */
function tableOf({ numerics, input }: LoweringContext): Value {
  const x = input(0, "plain");
  const { location, bytes } = x.slot;
  const half = location.kind === "constant" && isShared(bytes) ? halfOf(location.value) : undefined;
  return numerics.bfloat16 && half ? constantValue(half) : x;
}

const OneHot: NativeOp = {
  anyType: true,
  accepts: (node, graph) => isKnown(graph, node.inputs[1]),
  lower: (lowering) => {
    const { node, input, output, emit } = lowering;
    const indices = indicesOf(lowering, 0);
    const y = output(0);
    if (!y) return;
    const axis = resolveAxis(node, numberAttribute(node, "axis", -1), y.shape.length);
    emit(`oneHot${bytesOf(y.dtype)}`, {
      inputs: [indices, input(2)],
      outputs: [y],
      ints: around(fixed(y.shape), axis, "plain"),
    });
  },
};

export const indexingOps: Readonly<Record<string, NativeOp>> = { Gather, OneHot };
