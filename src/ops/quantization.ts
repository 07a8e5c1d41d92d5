// Fake quantization with its straight-through gradient, and ONNX's integer quantization.
import { type DType, dtypes } from "../ir/dtype.ts";
import type { Dim, Node, ValueType } from "../ir/graph.ts";
import { mismatch, numberAttribute, printShape, stringAttribute } from "./attributes.ts";
import type {
  GradientRule,
  InferContext,
  OpDefinition,
  OwnOpDefinition,
  Rows,
  SampleRule,
  Wanted,
} from "./definition.ts";
import {
  fitsScale,
  type Granularity,
  granularityOf,
  isGrouped,
  printGranularity,
  rowAxisOfGradient,
} from "./granularity.ts";
import { anything, floats, numbers, optional, rowsOf, tied } from "./inputs.ts";
import { operand, resolveAxis } from "./operands.ts";
import { costPerElement } from "./pointwise.ts";
import { alignedSamples, samplesBesideAxis, samplesWhere } from "./samples.ts";

/** The axis of dy that rows index. */
const rowAxis = (node: Node): number => numberAttribute(node, "row_axis", numberAttribute(node, "axis", 0));

const isRows = (want: Wanted): want is Rows => typeof want === "object";

/** Throws unless scale and zero point have the shape that the node's granularity gives them. */
function checkQparams(context: InferContext, x: ValueType, first: number): void {
  const { node, inputs } = context;
  const granularity = granularityOf(node, x.shape.length);
  const scale = operand(context, first).shape;
  for (const i of [first, first + 1]) {
    const shape = inputs[i]?.shape;
    if (shape === undefined || (fitsScale(x.shape, granularity, shape) && isSameShape(shape, scale))) continue;
    throw mismatch(
      node,
      `input "${node.inputs[i]}" is ${printShape(shape)}; expected ${expectedScale(x.shape, granularity)} for x ${printShape(x.shape)}.`,
    );
  }
}

function expectedScale(shape: readonly Dim[], granularity: Granularity): string {
  if (granularity === "tensor") return "[]";
  if (!isGrouped(granularity)) return printShape([shape[granularity.axis]]);
  const { axis, groupSize } = granularity;
  const size = shape[axis];
  const groups = typeof size === "number" ? Math.ceil(size / groupSize) : size;
  return `${printShape(shape.with(axis, groups))}, ${printGranularity(granularity)},`;
}

const fakeQuantizeGradient: GradientRule = ({ node, build, dys: [dy], wants }) => {
  if (dy === undefined) return [];
  const [x, scale, zeroPoint, low, high] = node.inputs;
  const rows = [0, 1, 2].map(wants).find(isRows);
  const wanted = [0, 1, 2].map((i) => wants(i) !== "none");
  const inputs = [dy, x, scale, zeroPoint, low, high, rows?.rows];
  const isByRow = rows !== undefined && isGrouped(granularityOf(node));
  const attributes = isByRow ? { ...node.attributes, row_axis: rows.axis } : node.attributes;
  const gradients = build.nodes("FakeQuantizeGradient", inputs, wanted, attributes);
  return gradients.map((name) => name || undefined);
};

/**
 * y = (clip(round(x / scale) + z, low, high) − z) · scale with z = clip(round(zeroPoint), low, high), without a zero point 0, ties to
 * even; gradients as LSQ+ (arXiv:2004.09576).
 */
export const FakeQuantize: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, floats, optional(floats), floats, floats],
  outputs: 1,
  sampleAxis: samplesWhere((axis, node) => axis !== node.attributes["axis"]),
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    checkQparams(context, { dtype, shape }, 1);
    return [{ dtype, shape }];
  },
  gradient: fakeQuantizeGradient,
  cost: costPerElement,
  keepsRows: (input, axis, node) => {
    const granularity = granularityOf(node);
    if (input > 2 || granularity === "tensor") return false;
    return isGrouped(granularity) ? axis !== granularity.axis : axis === granularity.axis;
  },
};

/** dx, dscale and dzeroPoint of FakeQuantize; with `rows`, dy and the results hold these rows alone. */
export const FakeQuantizeGradient: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, floats, floats, optional(floats), floats, floats, optional(rowsOf(1, rowAxis))],
  outputs: 3,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const { node } = context;
    const { dtype, shape } = operand(context, 0);
    const granularity = granularityOf(node, shape.length);
    const rows = context.inputs[6];
    const scale = operand(context, 2).shape;
    if (!rows) {
      checkQparams(context, { dtype, shape }, 2);
      return [{ dtype, shape }, ...[1, 2].map(() => ({ dtype, shape: scale }))];
    }
    const axis = rowAxisOfGradient(node, granularity);
    if (isGrouped(granularity) && !isSame(scale[axis], operand(context, 1).shape[axis]))
      throw mismatch(node, `its rows share scales ${printShape(scale)}; expected scales of each row's own.`);
    const [count] = rows.shape;
    const parameter = { dtype, shape: isGrouped(granularity) ? scale.with(axis, count) : [count] };
    return [{ dtype, shape: shape.with(axis, count) }, parameter, parameter];
  },
  gradient: "none",
  cost: ([dy = []]) => ({ multiplyAdds: 2 * dy.reduce((a, b) => a * b, 1) }),
};

function dtypeAttribute(node: Node): DType | undefined {
  const name = stringAttribute(node, "output_dtype", "");
  if (name === "") return undefined;
  if (name in dtypes) return name as DType;
  throw mismatch(node, `output_dtype is "${name}"; expected one of ${Object.keys(dtypes).join(", ")}.`);
}

const isOne = (shape: readonly Dim[]): boolean => shape.length === 0 || (shape.length === 1 && shape[0] === 1);

/** Throws unless scale, input `at`, and the zero point behind it are one for all, 1-D along the axis, or one for each block along it. */
function checkScales(context: InferContext, x: readonly Dim[], at = 1): void {
  const { node, inputs } = context;
  const scale = operand(context, at).shape;
  const zeroPoint = inputs[at + 1]?.shape;
  if (!isOne(scale) && !fitsOnnxScale(node, x, scale))
    throw mismatch(
      node,
      `its scale "${node.inputs[at]}" is ${printShape(scale)}; expected one number, or one for each of its axis (or block along it) of x ${printShape(x)}.`,
    );
  const block = numberAttribute(node, "block_size", 0);
  if (isOne(scale) && block !== 0)
    throw mismatch(node, `its block_size is ${block}, and it has one scale for all; expected one for each block.`);
  if (zeroPoint && !(isOne(zeroPoint) && isOne(scale)) && !isSameShape(zeroPoint, scale))
    throw mismatch(node, `its zero point is ${printShape(zeroPoint)}; expected ${printShape(scale)}, as its scale is.`);
}

const isSame = (a: Dim | undefined, b: Dim): boolean => typeof a === "string" || typeof b === "string" || a === b;
const isSameShape = (a: readonly Dim[], b: readonly Dim[]): boolean =>
  a.length === b.length && a.every((dim, i) => isSame(dim, b[i]));

function fitsOnnxScale(node: Node, x: readonly Dim[], scale: readonly Dim[]): boolean {
  const axis = resolveAxis(node, numberAttribute(node, "axis", 1), x.length);
  const block = numberAttribute(node, "block_size", 0);
  if (block === 0) return scale.length === 1 && isSame(scale[0], x[axis]);
  const size = x[axis];
  const blocks = typeof size === "number" ? Math.ceil(size / block) : size;
  return block > 0 && isSameShape(scale, x.with(axis, blocks));
}

/** One scale serves all, or there is one for each entry of the axis; those of blocks have all of x's axes. */
const quantizedSamples: SampleRule = (context) =>
  isOne(context.inputs[1]?.shape ?? []) ? alignedSamples(context) : samplesAlongScales(context);
const samplesAlongScales: SampleRule = (context) =>
  numberAttribute(context.node, "block_size", 0) === 0 ? samplesBesideAxis(1)(context) : "coupled";

/** y = saturate(round(x / scale) + zeroPoint) */
export const QuantizeLinear: OpDefinition = {
  introduced: 10,
  inputs: [numbers, floats, optional(anything)],
  outputs: 1,
  sampleAxis: quantizedSamples,
  movesValues: false,
  infer: (context) => {
    const { shape } = operand(context, 0);
    checkScales(context, shape);
    return [{ dtype: context.inputs[2]?.dtype ?? dtypeAttribute(context.node) ?? "uint8", shape }];
  },
  gradient: "none",
  cost: costPerElement,
};

/** Integers have no gradient. */
const dequantizeGradient: GradientRule = ({ node, build, dys: [dy], wants }) => {
  if (dy === undefined || wants(1) === "none") return [];
  return [undefined, build.node("DequantizeLinearGradient", [dy, ...node.inputs], node.attributes)];
};

/** y = (x − zeroPoint) · scale */
export const DequantizeLinear: OpDefinition = {
  introduced: 10,
  inputs: [tied(numbers), floats, optional(tied(numbers))],
  outputs: 1,
  sampleAxis: quantizedSamples,
  movesValues: false,
  infer: (context) => {
    const { shape } = operand(context, 0);
    checkScales(context, shape);
    return [{ dtype: dtypeAttribute(context.node) ?? operand(context, 1).dtype, shape }];
  },
  gradient: dequantizeGradient,
  cost: costPerElement,
};

/** dscale = Σ dy · (x − zeroPoint) over the elements that share a scale, of DequantizeLinear. */
export const DequantizeLinearGradient: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, tied(numbers), floats, optional(tied(numbers))],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 2);
    checkScales(context, operand(context, 1).shape, 2);
    return [{ dtype, shape }];
  },
  gradient: "none",
  cost: ([dy = []]) => ({ multiplyAdds: dy.reduce((a, b) => a * b, 1) }),
};
