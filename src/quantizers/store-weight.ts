// A weight's integers, and how they are stored: behind DequantizeLinear, with a scale for each row or group, or as indices of levels.
import { assert } from "../ir/errors.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { heldNarrow } from "../ir/held-narrow.ts";
import { nearestLevel } from "../ir/nearest-level.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { allocate, numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { isStored, storedTensor } from "../ir/tensor-source.ts";
import { type Granularity, granularityAttributes, isGrouped } from "../ops/granularity.ts";
import type { LinearLayer } from "./linear-layers.ts";
import { forEachScaled } from "./qparams.ts";
import { boundsIn, type Quantizer } from "./quantizer.ts";

export const numbersOfConstant = (graph: Graph, name: string): readonly number[] => {
  const value = graph.constants.get(name);
  assert(value, `"${name}" is not a constant`);
  return Array.from(numbersOf(value));
};

export interface Integers {
  /** Unsigned where there are zero points or levels. */
  readonly values: Int8Array | Uint8Array;
  readonly granularity: Granularity;
  readonly scaleShape: readonly number[];
  readonly scales: number[];
  /** One for each scale; absent: all are 0. */
  readonly zeroPoints?: readonly number[];
  /** What the integers are indices of. */
  readonly levels?: Tensor;
}

/** The row of each scale. */
function rowsOfScales(scaleShape: readonly number[], granularity: Granularity, rowAxis: number): readonly number[] {
  const axis = isGrouped(granularity) ? rowAxis : 0;
  const inner = sizeOf(scaleShape.slice(axis + 1));
  return Array.from({ length: sizeOf(scaleShape) }, (_, i) => Math.floor(i / inner) % scaleShape[axis]);
}

/** The integers that the quantizer gives, with the rows' factors in their scales. */
export function integersOf(
  graph: Graph,
  layer: LinearLayer,
  quantizer: Quantizer,
  factor: readonly number[],
): Integers {
  const factorsOf = (scale: Tensor): readonly number[] =>
    rowsOfScales(scale.shape, quantizer.granularity, layer.rowAxis).map((row) => factor[row]);
  const [weight, scale] = [layer.weight, quantizer.scale].map((name) => graph.constants.get(name));
  assert(weight && scale, `weight "${layer.weight}" or its scale is not a constant`);
  const given = { graph, quantizer, weight, scale, factors: factorsOf(scale) };
  return quantizer.levels === "" ? uniformIntegers(given) : levelIndices(given);
}

interface GivenWeight {
  readonly graph: Graph;
  readonly quantizer: Quantizer;
  readonly weight: Tensor;
  readonly scale: Tensor;
  /** By scale. */
  readonly factors: readonly number[];
}

/** w / s as the quantizer divides. */
const divided = ({ dtype }: Tensor): ((w: number, s: number) => number) =>
  dtype === "float32" ? (w, s) => Math.fround(w / s) : (w, s) => w / s;

/** Factors and their signs go into the scales. */
function levelIndices({ graph, quantizer, weight, scale, factors }: GivenWeight): Integers {
  const levels = graph.constants.get(quantizer.levels);
  assert(levels, `levels "${quantizer.levels}" are not a constant`);
  const [all, scales, divide] = [numbersOf(levels), numbersOf(scale), divided(weight)];
  const values = new Uint8Array(sizeOf(weight.shape));
  forEachScaled(weight, quantizer.granularity, scale.shape, (i, w, at) => {
    values[at] = nearestLevel(all, divide(w, scales[i]));
  });
  return {
    values,
    granularity: quantizer.granularity,
    scaleShape: scale.shape,
    scales: factors.map((each, i) => scales[i] * each),
    levels,
  };
}

/**
 * The integers that the fake quantizer gives, with the rows' factors in their scales and its sign in theirs: around zero −q, of
 * which −low may not be one; above zero low + high − q, as the zero point.
 */
function uniformIntegers({ graph, quantizer, weight, scale, factors }: GivenWeight): Integers {
  const { granularity } = quantizer;
  const { low, high } = boundsIn(graph, quantizer);
  const scales = numbersOf(scale);
  const clamp = (q: number): number => Math.min(high, Math.max(low, q));
  const zeroPoints =
    quantizer.zeroPoint === ""
      ? undefined
      : numbersOfConstant(graph, quantizer.zeroPoint).map((zeroPoint) => clamp(roundHalfToEven(zeroPoint)));
  const divide = divided(weight);
  const values = allocate(zeroPoints ? "uint8" : "int8", sizeOf(weight.shape)) as Int8Array | Uint8Array;
  const turned = (q: number, sign: number, zeroPoint: number): number => {
    if (!zeroPoints) return Math.min(high, q * sign);
    return sign === 0 ? zeroPoint : sign < 0 ? low + high - q : q;
  };
  forEachScaled(weight, granularity, scale.shape, (i, w, at) => {
    const zeroPoint = zeroPoints?.[i] ?? 0;
    const q = clamp(roundHalfToEven(divide(w, scales[i])) + zeroPoint);
    values[at] = turned(q, Math.sign(factors[i]), zeroPoint);
  });
  return {
    values,
    granularity,
    scaleShape: scale.shape,
    scales: factors.map((each, i) => (each === 0 ? 1 : scales[i] * Math.abs(each))),
    ...(zeroPoints && {
      zeroPoints: zeroPoints.map((zeroPoint, i) => turned(zeroPoint, Math.sign(factors[i]), zeroPoint)),
    }),
  };
}

/** A weight's integers and scales in a graph. */
export interface StoredWeight extends Integers {
  readonly weight: string;
  /** The constant that holds the integers. */
  readonly integers: string;
  /** The constant that holds the scales. */
  readonly scale: string;
  /** The constant that holds the zero points, or "". */
  readonly zeroPoint: string;
  /** The weight that they give. */
  readonly output: string;
}

export interface Additions {
  readonly constants: Map<string, Tensor>;
  readonly unique: (name: string) => string;
  readonly storedWeights: StoredWeight[];
}

const isSameList = (a: ArrayLike<number> = [], b: ArrayLike<number> = []): boolean =>
  a.length === b.length && Array.prototype.every.call(a, (value, i) => value === b[i]);

/** ONNX's blocks have a scale at every place of a window; ours share one, which is repeated. */
function repeatedOverWindow(
  values: readonly number[],
  { granularity, scaleShape }: Integers,
  weightShape: readonly number[],
): { readonly shape: readonly number[]; readonly values: readonly number[] } {
  if (!isGrouped(granularity)) return { shape: scaleShape, values };
  const shape = weightShape.with(granularity.axis, scaleShape[granularity.axis]);
  const window = sizeOf(shape) / sizeOf(scaleShape);
  return { shape, values: values.flatMap((value) => new Array<number>(window).fill(value)) };
}

/** Of a weight that is read whenever it is used, in as few bits as hold them. */
const codesOf = (weight: Tensor, dtype: "int8" | "uint8", values: Integers["values"]): Tensor =>
  isStored(weight)
    ? storedTensor(dtype, weight.shape, heldNarrow(values))
    : { dtype, shape: weight.shape, data: values };

/** The weight in the file, and the node that brings it there: none where another layer has the same weight in the same form. */
export function storeWeight(
  layer: LinearLayer,
  weight: Tensor,
  integers: Integers,
  { constants, unique, storedWeights }: Additions,
): { readonly stored: StoredWeight; readonly nodes: readonly Node[] } {
  const known = storedWeights.find(
    (other) =>
      other.weight === layer.weight &&
      isSameList(other.scales, integers.scales) &&
      isSameList(other.zeroPoints, integers.zeroPoints) &&
      isSameList(other.levels?.data as ArrayLike<number> | undefined, integers.levels?.data as ArrayLike<number>) &&
      isSameList(other.values, integers.values),
  );
  if (known) return { stored: known, nodes: [] };
  const { values, scales, zeroPoints, granularity, levels } = integers;
  const nameOf = (suffix: string): string => unique(`${layer.name}.weight_${suffix}`);
  const dtype = zeroPoints || levels ? "uint8" : "int8";
  const [codes, scale] = [nameOf("integers"), nameOf("folded_scale")];
  constants.set(codes, codesOf(weight, dtype, values));
  const steps = repeatedOverWindow(scales, integers, weight.shape);
  constants.set(scale, tensorOf(weight.dtype, steps.shape, steps.values));
  const zeroPoint = zeroPoints ? nameOf("folded_zero_point") : "";
  if (zeroPoints) {
    const repeated = repeatedOverWindow(zeroPoints, integers, weight.shape);
    constants.set(zeroPoint, tensorOf(dtype, repeated.shape, repeated.values));
  }
  const table = levels ? nameOf("levels") : "";
  if (levels) constants.set(table, levels);
  const node: Node = {
    name: nameOf("dequantize"),
    op: levels ? "LevelDequantize" : "DequantizeLinear",
    inputs: [codes, scale, zeroPoint, table].filter((input) => input !== ""),
    outputs: [nameOf("dequantized")],
    attributes: granularityAttributes(granularity),
  };
  const stored = { ...integers, weight: layer.weight, integers: codes, scale, zeroPoint, output: node.outputs[0] };
  storedWeights.push(stored);
  return { stored, nodes: [node] };
}
