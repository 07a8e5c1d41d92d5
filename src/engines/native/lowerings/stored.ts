// Numbers as they are stored: quantized to integers, and back.
import { type DType, dtypes } from "../../../ir/dtype.ts";
import type { Graph, Node } from "../../../ir/graph.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import type { NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";
import { around } from "./quantization.ts";
import { dtypeOf } from "./typed.ts";

/** What stored integers may be; narrower ones are held in a byte each. */
const stored: Readonly<Record<string, string>> = {
  int8: "int8",
  uint8: "uint8",
  int16: "int16",
  uint16: "uint16",
  int32: "int32",
  int4: "int8",
  uint4: "uint8",
  int2: "int8",
  uint2: "uint8",
};

/** The lowest and highest integer of a type. */
function rangeOf(dtype: DType): readonly [number, number] {
  const { bits } = dtypes[dtype];
  return dtype.startsWith("u") ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}

/** x around the scales' axis, and how many of its indices share a scale; 0 where each has its own. */
function scaleInts(node: Node, x: Value, scale: Value): readonly number[] {
  const isOne = scale.shape.every((size) => size === 1);
  const axis = isOne ? undefined : resolveAxis(node, numberAttribute(node, "axis", 1), x.shape.length);
  return [...around(fixed(x.shape), axis, "plain"), isOne ? 0 : numberAttribute(node, "block_size", 0)];
}

const acceptsScales = (node: Node, graph: Graph, integer: string, real: string): boolean =>
  (dtypeOf(graph, integer) ?? "") in stored &&
  [real, node.inputs[1]].every((value) => dtypeOf(graph, value) === "float32");

const QuantizeLinear: NativeOp = {
  anyType: true,
  accepts: (node, graph) => acceptsScales(node, graph, node.outputs[0], node.inputs[0]),
  lower: ({ node, input, optional, output, emit }) => {
    const [x, scale] = [input(0, "plain"), input(1, "plain")];
    const y = output(0);
    if (!y) return;
    emit(`quantize:${stored[y.dtype]}`, {
      inputs: [x, scale, optional(2)],
      outputs: [y],
      ints: scaleInts(node, x, scale),
      floats: rangeOf(y.dtype),
    });
  },
};

const DequantizeLinear: NativeOp = {
  anyType: true,
  accepts: (node, graph) => acceptsScales(node, graph, node.inputs[0], node.outputs[0]),
  lower: ({ node, input, optional, output, emit }) => {
    const [x, scale] = [input(0, "plain"), input(1, "plain")];
    const ints = scaleInts(node, x, scale);
    emit(`dequantize:${stored[x.dtype]}`, { inputs: [x, scale, optional(2)], outputs: [output(0)], ints });
  },
};

export const storedOps: Readonly<Record<string, NativeOp>> = { QuantizeLinear, DequantizeLinear };
