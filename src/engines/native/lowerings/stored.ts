// Numbers as they are stored: quantized to integers, and back.
import { type DType, dtypes, packedBytes } from "../../../ir/dtype.ts";
import type { Graph, Node } from "../../../ir/graph.ts";
import { isPacked, pack } from "../../../ir/packing.ts";
import { sizeOf, type Tensor } from "../../../ir/tensor.ts";
import { storedTensor } from "../../../ir/tensor-source.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { isMatrixProduct } from "../../../ops/linear.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import { constantValue, type LoweringContext, type NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";
import { isReadInPlace } from "../transposes.ts";
import { minBfloat16Bytes } from "./product.ts";
import { around } from "./quantization.ts";
import { dtypeOf } from "./typed.ts";

/** What stored integers may be; narrower ones are held in a byte each, unless they are constants that are read back into floats. */
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
  lower: (lowering) => {
    const { node, input, optional, output, define, scratch, emit } = lowering;
    const [x, scale] = [input(0, "plain"), input(1, "plain")];
    const ints = scaleInts(node, x, scale);
    if (!isByte(x.dtype))
      return emit(`dequantize:${x.dtype}`, { inputs: [x, scale, optional(2)], outputs: [output(0)], ints });
    const isNarrow = isForNarrowProducts(lowering);
    const y = isNarrow ? scratch("bfloat16", x.shape) : output(0);
    emit(isNarrow ? "dequantize:bfloat16" : "dequantize:codes", {
      inputs: [packed(x), scale, optional(2)],
      outputs: [y],
      ints: [...ints, ...codeInts(x)],
    });
    if (isNarrow && y) define(0, y);
  },
};

const DequantizeLinearGradient: NativeOp = {
  anyType: true,
  accepts: (node, graph) =>
    isByte(dtypeOf(graph, node.inputs[1]) ?? "float32") &&
    [0, 2].every((i) => dtypeOf(graph, node.inputs[i]) === "float32"),
  lower: ({ node, input, optional, output, emit }) => {
    const [dy, x, scale] = [input(0, "plain"), input(1, "plain"), input(2, "plain")];
    emit("dequantizeGradient", {
      inputs: [dy, packed(x), optional(3)],
      outputs: [output(0)],
      ints: [...scaleInts(node, x, scale), ...codeInts(x)],
    });
  },
};

const isByte = (dtype: DType): boolean => stored[dtype] === "int8" || stored[dtype] === "uint8";

/** The bits of a code, and whether it has a sign. */
const codeInts = (x: Value): readonly number[] => [
  isPackable(x) ? dtypes[x.dtype].bits : 8,
  Number(stored[x.dtype] === "int8"),
];

/** What a run makes has a byte for each code. */
const isPackable = ({ slot, dtype }: Value): boolean => slot.location.kind === "constant" && isPacked(dtype);

/** Constants of fewer than 8 bits lie several to a byte, of which all plans share a copy. */
function packed(x: Value): Value {
  const { location } = x.slot;
  return location.kind === "constant" && isPackable(x) ? constantValue(packedTensor(location.value)) : x;
}

const packedTensors = new WeakMap<Tensor, Tensor>();

function packedTensor(codes: Tensor): Tensor {
  const { dtype, shape } = codes;
  const known = packedTensors.get(codes);
  if (known) return known;
  const bytes = (): Uint8Array => pack(dtype, codes.data as Uint8Array);
  const made = storedTensor("uint8", [packedBytes(dtype, sizeOf(shape))], bytes);
  packedTensors.set(codes, made);
  return made;
}

/** Whether products that round to bfloat16 anyway are all that reads a node's output. */
function isForNarrowProducts({ node, graph, uses, numerics }: LoweringContext): boolean {
  const [y] = node.outputs;
  const isLarge = 4 * sizeOf(fixed(graph.values.get(y)?.shape ?? [])) >= minBfloat16Bytes;
  const isKept = graph.outputs.includes(y) || [...graph.updates.values()].includes(y);
  const isProduct = (reader: Node): boolean => isMatrixProduct(reader) || isReadInPlace(reader, graph, uses);
  return numerics.bfloat16 && isLarge && !isKept && (uses.readers.get(y) ?? []).every(isProduct);
}

export const storedOps: Readonly<Record<string, NativeOp>> = {
  QuantizeLinear,
  DequantizeLinear,
  DequantizeLinearGradient,
};
