// Elementwise operators in other types than float32.
import type { DType } from "../../../ir/dtype.ts";
import type { Graph, Node } from "../../../ir/graph.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import { isSettled, type LoweringContext, type Open } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";
import { broadcastNest } from "./broadcasting.ts";

/** Numbered as native/src/steps/typed.cpp numbers them. */
const arithmetics = [
  ..."Add Sub Mul Div Max Min Pow Mod FMod".split(" "),
  ..."BitwiseAnd BitwiseOr BitwiseXor ShiftLeft ShiftRight".split(" "),
];
export const integerTypes = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"] as const;
const integers: ReadonlySet<DType> = new Set(integerTypes);

/** By operator, the types other than float32 that it takes. */
const unaryTypes: ReadonlyMap<string, ReadonlySet<DType>> = new Map([
  ...["Neg", "Abs", "Sign"].map((op) => [op, new Set<DType>(["float64", "int8", "int32", "int64"])] as const),
  ["IsNaN", new Set<DType>(["float32", "float64"])],
  ["Not", new Set<DType>(["bool"])],
  ["BitwiseNot", integers],
]);

export const dtypeOf = (graph: Graph, value: string | undefined): DType | undefined =>
  graph.values.get(value ?? "")?.dtype;

/** Whether all values of a node have one type; the type. */
export function commonType(node: Node, graph: Graph): DType | undefined {
  const all = new Set([...node.inputs, ...node.outputs].filter((value) => value !== "").map((v) => dtypeOf(graph, v)));
  return all.size === 1 ? [...all][0] : undefined;
}

const areSettled = (node: Node, graph: Graph, open: Open): boolean =>
  node.outputs.every((output) => isSettled(graph, output, open));

export const acceptsArithmetic = (op: string, node: Node, graph: Graph, open: Open): boolean => {
  const dtype = commonType(node, graph);
  if (dtype === undefined || !arithmetics.includes(op) || !areSettled(node, graph, open)) return false;
  return integers.has(dtype) || (dtype === "float64" && !/^(Bitwise|Shift)/.test(op));
};

/** y = a op b, broadcast. */
export function emitArithmetic({ emit }: LoweringContext, op: string, a: Value, b: Value, y: Value): void {
  const ints = [arithmetics.indexOf(op), ...broadcastNest([a, b], y)];
  emit(`arithmetic:${y.dtype}`, { inputs: [a, b], outputs: [y], ints });
}

export const acceptsTypedUnary = (op: string, node: Node, graph: Graph, open: Open): boolean => {
  const dtype = dtypeOf(graph, node.inputs[0]);
  return dtype !== undefined && unaryTypes.get(op)?.has(dtype) === true && areSettled(node, graph, open);
};

export function emitTypedUnary({ emit, input, output }: LoweringContext, op: string): void {
  const x = input(0);
  emit(`${op}:${x.dtype}`, { inputs: [x], outputs: [output(0, x.layout)], ints: [sizeOf(fixed(x.shape))] });
}
