// Along one axis: the place of the extreme, the k largest, sums so far. And triangles of matrices.
import { sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import { isKnown, type NativeOp } from "../lowering.ts";
import { bytesOf, fixed } from "../plan.ts";
import { around } from "./quantization.ts";
import { dtypeOf } from "./typed.ts";

const ordered: ReadonlySet<string> = new Set(["float32", "int32", "int64"]);

const argExtreme: NativeOp = {
  anyType: true,
  accepts: (node, graph) => ordered.has(dtypeOf(graph, node.inputs[0]) ?? ""),
  lower: ({ node, input, output, emit }) => {
    const x = input(0, "plain");
    const axis = resolveAxis(node, numberAttribute(node, "axis", 0), x.shape.length);
    const options = [Number(node.op === "ArgMin"), numberAttribute(node, "select_last_index", 0)];
    const ints = [...around(fixed(x.shape), axis, "plain"), ...options];
    emit(`argExtreme:${x.dtype}`, { inputs: [x], outputs: [output(0)], ints });
  },
};

const TopK: NativeOp = {
  anyType: true,
  accepts: (node, graph) => ordered.has(dtypeOf(graph, node.inputs[0]) ?? "") && isKnown(graph, node.inputs[1]),
  lower: ({ node, input, output, constantOf, emit }) => {
    const x = input(0, "plain");
    const axis = resolveAxis(node, numberAttribute(node, "axis", -1), x.shape.length);
    const ints = [
      ...around(fixed(x.shape), axis, "plain"),
      constantOf(1)?.[0] ?? 0,
      numberAttribute(node, "largest", 1),
    ];
    emit(`topK:${x.dtype}`, { inputs: [x], outputs: [output(0), output(1)], ints });
  },
};

const CumSum: NativeOp = {
  anyType: true,
  accepts: (node, graph) => ordered.has(dtypeOf(graph, node.inputs[0]) ?? "") && isKnown(graph, node.inputs[1]),
  lower: ({ node, input, output, constantOf, emit }) => {
    const x = input(0, "plain");
    const axis = resolveAxis(node, constantOf(1)?.[0] ?? 0, x.shape.length);
    const options = [numberAttribute(node, "exclusive", 0), numberAttribute(node, "reverse", 0)];
    const ints = [...around(fixed(x.shape), axis, "plain"), ...options];
    emit(`cumulativeSum:${x.dtype}`, { inputs: [x], outputs: [output(0)], ints, inPlace: [[0, 0]] });
  },
};

const Trilu: NativeOp = {
  anyType: true,
  accepts: (node, graph) => isKnown(graph, node.inputs[1]),
  lower: ({ node, input, output, constantOf, emit }) => {
    const x = input(0, "plain");
    const shape = fixed(x.shape);
    const ints = [
      sizeOf(shape.slice(0, -2)),
      ...shape.slice(-2),
      constantOf(1)?.[0] ?? 0,
      numberAttribute(node, "upper", 1),
    ];
    emit(`triangle${bytesOf(x.dtype)}`, { inputs: [x], outputs: [output(0)], ints, inPlace: [[0, 0]] });
  },
};

export const orderingOps: Readonly<Record<string, NativeOp>> = {
  ArgMax: argExtreme,
  ArgMin: argExtreme,
  TopK,
  CumSum,
  Trilu,
};
