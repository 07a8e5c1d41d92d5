// Gathers and one-hot rows.
import { sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { isStatic } from "../../../ops/dims.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import { isKnown, isSettled, type NativeOp } from "../lowering.ts";
import { bytesOf, fixed } from "../plan.ts";
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
    const { node, input, output, emit, size, maxSize } = lowering;
    const [x, indices] = [input(0, "plain"), indicesOf(lowering, 1)];
    const axis = resolveAxis(node, numberAttribute(node, "axis", 0), x.shape.length);
    const count = isStatic(indices.shape) ? sizeOf(indices.shape) : indices.shape[0];
    emit(`gather${bytesOf(x.dtype)}`, {
      inputs: [x, indices],
      outputs: [output(0)],
      ints: [...around(fixed(x.shape), axis, "plain"), size(count), maxSize(count)],
    });
  },
};

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
