// Fake quantization and its gradient, over memory as [outer, size, inner] around the axis.
import { assert } from "../../../ir/errors.ts";
import type { Graph, Node } from "../../../ir/graph.ts";
import {
  type GroupGranularity,
  granularityOf,
  isGrouped,
  rowAxisOfGradient,
  type ScaleLayout,
  scaleLayout,
} from "../../../ops/granularity.ts";
import { multipliesIntegers } from "../integers.ts";
import type { LoweringContext, NativeOp, WeightCodes } from "../lowering.ts";
import { type Codes, fixed, type MemoryLayout, memoryOrder, type Value } from "../plan.ts";

/** Around an axis as it lies in memory; without an axis one row holds everything. */
export function around(
  shape: readonly number[],
  axis: number | undefined,
  layout: MemoryLayout,
): readonly [outer: number, size: number, inner: number] {
  const product = (sizes: readonly number[]): number => sizes.reduce((result, size) => result * size, 1);
  if (axis === undefined) return [1, 1, product(shape)];
  const order = memoryOrder(shape.length, layout);
  const at = order.indexOf(axis);
  const sizes = order.map((each) => shape[each]);
  return [product(sizes.slice(0, at)), sizes[at], product(sizes.slice(at + 1))];
}

const FakeQuantize: NativeOp = {
  lower: (lowering) => {
    const { node, input, optional, output, emit, emitFused } = lowering;
    const granularity = granularityOf(node, lowering.graph.values.get(node.inputs[0])?.shape.length);
    if (granularity === "tensor") {
      if (lowerToCodes(lowering)) return;
      const x = input(0);
      const broadcast = [input(1), optional(2), input(3), input(4)];
      return emitFused("fakeQuantize", { elementwise: [x], broadcast, results: [output(0, x.layout)] });
    }
    const x = input(0, "plain");
    const scale = input(1, "plain");
    const isByGroup = isGrouped(granularity);
    emit(isByGroup ? "fakeQuantizeGroups" : "fakeQuantize", {
      inputs: [x, scale, optional(2), input(3), input(4)],
      outputs: [output(0, x.layout)],
      ints: isByGroup
        ? groupInts(scaleLayout(fixed(x.shape), granularity, fixed(scale.shape)))
        : around(fixed(x.shape), granularity.axis, x.layout),
      inPlace: [[0, 0]],
    });
  },
};

/** Sizes of x, how many indices share a quantizer, and whether each outer index has its own. */
const groupInts = ({ outer, size, inner, window, group, keepsOuter }: ScaleLayout): readonly number[] => [
  ...[outer, size, inner, window, group],
  Number(keepsOuter),
];

/** Where integer products read them, quantized activations are held as codes; whether they are. */
function lowerToCodes({
  node,
  graph,
  uses,
  numerics,
  input,
  optional,
  define,
  scratch,
  emitFused,
}: LoweringContext): boolean {
  const [y] = node.outputs;
  const readers = (uses.readers.get(y) ?? []).filter(({ inputs }) => inputs[0] === y);
  if (!readers.some((reader) => multipliesIntegers(reader, graph, uses, numerics))) return false;
  const isImage = readers.some(({ op }) => op === "Conv");
  const x = input(0, isImage ? "channelsLast" : "plain");
  const codes: Codes = { scale: scratch("float32", []), zero: scratch("float32", []) };
  const value: Value = { ...scratch("uint8", x.shape, x.layout), codes };
  const broadcast = [input(1), optional(2), input(3), input(4)];
  emitFused("quantize", { elementwise: [x], broadcast, results: [value], epilogue: [codes.scale, codes.zero] });
  define(0, value);
  return true;
}

/** A product's quantized weights in codes; all products that read them share these. */
export function weightCodes(lowering: LoweringContext, name: string): WeightCodes {
  const known = lowering.weights.get(name) ?? makeWeightCodes(lowering, name);
  lowering.weights.set(name, known);
  return known;
}

function makeWeightCodes({ uses, named, scratch, emit }: LoweringContext, quantized: string): WeightCodes {
  const quantizer = uses.producers.get(quantized);
  assert(quantizer, `weights "${quantized}" have no quantizer`);
  const [w, step, , low, high] = quantizer.inputs.map((name) => (name === "" ? undefined : named(name)));
  assert(w && step, "a quantizer has an input and a scale");
  if (quantizer.op === "DequantizeLinear") return { codes: w, scale: step };
  const codes = scratch("int8", w.shape);
  const scale = scratch("float32", step.shape);
  const granularity = granularityOf(quantizer, w.shape.length);
  const axis = granularity === "tensor" ? undefined : granularity.axis;
  emit("quantizeRows", {
    inputs: [w, step, low, high],
    outputs: [codes, scale],
    ints: around(fixed(w.shape), axis, "plain"),
  });
  return { codes, scale };
}

/** Rows of groups lie along all that is before the groups' axis, or all that is behind it but a window. */
function acceptsRows(node: Node, graph: Graph): boolean {
  const [x, scale] = node.inputs.slice(1, 3).map((name) => graph.values.get(name)?.shape ?? []);
  const granularity = granularityOf(node, x.length);
  if (!isGrouped(granularity) || (node.inputs[6] ?? "") === "") return true;
  const axis = rowAxisOfGradient(node, granularity);
  const shared = scale.slice(Math.max(axis, granularity.axis) + 1);
  return axis < granularity.axis
    ? granularity.axis === 1
    : axis === granularity.axis + 1 && shared.every((size) => size === 1);
}

const FakeQuantizeGradient: NativeOp = {
  accepts: acceptsRows,
  integers: [6],
  takesRows: true,
  lower: (lowering) => {
    const { node, graph, input, optional, output, emit, emitFused, size, maxSize, as } = lowering;
    const granularity = granularityOf(node, graph.values.get(node.inputs[1])?.shape.length);
    if (isGrouped(granularity)) return lowerGroupsGradient(lowering, granularity);
    const axis = granularity === "tensor" ? undefined : granularity.axis;
    const x = axis === undefined ? input(1) : input(1, "plain");
    const dy = as(input(0), x.layout);
    if (axis === undefined && !optional(6)) {
      const broadcast = [input(2), optional(3), input(4), input(5)];
      return emitFused("fakeQuantizeGradient", {
        elementwise: [dy, x],
        broadcast,
        results: [output(0, x.layout)],
        epilogue: [output(1), output(2)],
      });
    }
    const shape = around(fixed(x.shape), axis, x.layout);
    const rows = optional(6);
    const maxRows = rows ? Math.min(maxSize(rows.shape[0]), maxSize(dy.shape[axis ?? 0])) : shape[1];
    const count = rows ? size(rows.shape[0]) : shape[1];
    emit("fakeQuantizeGradient", {
      inputs: [dy, x, input(2), optional(3), input(4), input(5), rows],
      outputs: [output(0, x.layout), output(1), output(2)],
      ints: [...shape, count, maxRows],
      inPlace: [[0, 0]],
    });
  },
};

function lowerGroupsGradient(
  { node, input, optional, output, emit, size, maxSize }: LoweringContext,
  granularity: GroupGranularity,
): void {
  const [dy, x, scale] = [input(0, "plain"), input(1, "plain"), input(2, "plain")];
  const rows = optional(6);
  const axis = rows && rowAxisOfGradient(node, granularity);
  const along = axis === undefined ? 0 : axis < granularity.axis ? 1 : 2;
  const count = rows ? size(rows.shape[0]) : 0;
  const maxRows = rows && axis !== undefined ? Math.min(maxSize(rows.shape[0]), maxSize(dy.shape[axis])) : 0;
  emit("fakeQuantizeGroupsGradient", {
    inputs: [dy, x, scale, optional(3), input(4), input(5), rows],
    outputs: [output(0, "plain"), output(1, "plain"), output(2, "plain")],
    ints: [...groupInts(scaleLayout(fixed(x.shape), granularity, fixed(scale.shape))), along, count, maxRows],
    inPlace: [[0, 0]],
  });
}

export const quantizationOps: Readonly<Record<string, NativeOp>> = { FakeQuantize, FakeQuantizeGradient };
