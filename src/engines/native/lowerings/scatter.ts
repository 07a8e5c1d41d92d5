// Gathers and scatters of elements and of slices, by indices of their own shape.
import type { Graph, Node } from "../../../ir/graph.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute, stringAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import type { NativeOp } from "../lowering.ts";
import { bytesOf, fixed, list, stridesOf, type Value } from "../plan.ts";
import { indicesOf } from "./cast.ts";
import { dtypeOf } from "./typed.ts";

/** Numbered as native/src/steps/indexing.cpp numbers them. */
const reductions = ["none", "add", "mul", "max", "min"];
const reduced: ReadonlySet<string> = new Set(["float32", "int32", "int64"]);
/** Any type of as many bytes moves an element. */
const carriers: Readonly<Record<number, string>> = { 1: "uint8", 4: "int32", 8: "int64" };

const hasIndices = (node: Node, graph: Graph): boolean => /^int(32|64)$/.test(dtypeOf(graph, node.inputs[1]) ?? "");

/** Loops over the indices with x's strides, those along the axis taken out. */
function elementInts(node: Node, x: Value, indices: Value): readonly number[] {
  const shape = fixed(x.shape);
  const axis = resolveAxis(node, numberAttribute(node, "axis", 0), shape.length);
  const strides = stridesOf(shape, "plain");
  return [...list(fixed(indices.shape)), ...list(strides.with(axis, 0)), shape[axis], strides[axis]];
}

/** The slices of x that the tuples in the last axis of `indices` name, after `batch` axes that both have. */
function sliceInts(x: Value, indices: Value, batch: number): readonly number[] {
  const [shape, tuples] = [fixed(x.shape), fixed(indices.shape)];
  const end = batch + tuples[tuples.length - 1];
  const strides = stridesOf(shape, "plain");
  const count = sizeOf(tuples.slice(0, -1));
  const perBatch = sizeOf(tuples.slice(batch, -1));
  const lists = [...list(shape.slice(batch, end)), ...list(strides.slice(batch, end))];
  return [count, perBatch, batch === 0 ? 0 : strides[batch - 1], ...lists, sizeOf(shape.slice(end))];
}

const gather = (kernel: string, intsOf: (node: Node, x: Value, indices: Value) => readonly number[]): NativeOp => ({
  anyType: true,
  accepts: hasIndices,
  lower: (lowering) => {
    const { node, input, output, emit } = lowering;
    const [x, indices] = [input(0, "plain"), indicesOf(lowering, 1)];
    const ints = intsOf(node, x, indices);
    emit(`${kernel}${bytesOf(x.dtype)}`, { inputs: [x, indices], outputs: [output(0)], ints });
  },
});

const scatter = (kernel: string, intsOf: (node: Node, x: Value, indices: Value) => readonly number[]): NativeOp => ({
  anyType: true,
  accepts: (node, graph) => {
    const dtype = dtypeOf(graph, node.inputs[0]);
    if (dtype === undefined || !hasIndices(node, graph)) return false;
    return reduced.has(dtype) || (stringAttribute(node, "reduction", "none") === "none" && bytesOf(dtype) in carriers);
  },
  lower: (lowering) => {
    const { node, input, output, emit } = lowering;
    const [x, indices, updates] = [input(0, "plain"), indicesOf(lowering, 1), input(2, "plain")];
    const type = reduced.has(x.dtype) ? x.dtype : carriers[bytesOf(x.dtype)];
    const reduction = reductions.indexOf(stringAttribute(node, "reduction", "none"));
    emit(`${kernel}:${type}`, {
      inputs: [x, indices, updates],
      outputs: [output(0)],
      ints: [reduction, sizeOf(fixed(x.shape)), ...intsOf(node, x, indices)],
      inPlace: [[0, 0]],
    });
  },
});

export const scatterOps: Readonly<Record<string, NativeOp>> = {
  GatherElements: gather("gatherElements", elementInts),
  GatherND: gather("gatherSlices", (node, x, indices) => sliceInts(x, indices, numberAttribute(node, "batch_dims", 0))),
  ScatterElements: scatter("scatterElements", elementInts),
  ScatterND: scatter("scatterSlices", (_, x, indices) => sliceInts(x, indices, 0)),
};
