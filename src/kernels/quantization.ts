// Quantization as every runtime does it: float32 quotients are rounded to float32 before they are rounded to integers.

import { type DType, dtypes } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import type { Node } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { sizeOf, type Tensor, toNumbers } from "../ir/tensor.ts";
import { stringAttribute } from "../ops/attributes.ts";
import { forEachRun, granularityOf, isGrouped, rowAxisOfGradient, scaleLayout } from "../ops/granularity.ts";
import { float64Of, fromFloat64, rounding } from "./float64.ts";
import type { Kernel } from "./kernel.ts";

interface Quantizer {
  readonly scale: number;
  readonly zeroPoint: number;
  readonly low: number;
  readonly high: number;
}

/** The quantizer of each scale; a zero point beyond the integers counts as the nearest of them. */
function quantizers(inputs: readonly (Tensor | undefined)[], node: Node): readonly Quantizer[] {
  const [scale, zeroPoint, low, high] = inputs;
  assert(scale && low && high, `${node.op} lacks inputs`);
  const zeroPoints = zeroPoint && float64Of(zeroPoint, node);
  const [lowest] = float64Of(low, node);
  const [highest] = float64Of(high, node);
  return Array.from(float64Of(scale, node), (value, i) => ({
    scale: value,
    zeroPoint: zeroPoints ? Math.min(highest, Math.max(lowest, roundHalfToEven(zeroPoints[i]))) : 0,
    low: lowest,
    high: highest,
  }));
}

const FakeQuantize: Kernel = ([x, scale, ...rest], node) => {
  assert(x && scale, "FakeQuantize lacks inputs");
  const round = rounding(x.dtype);
  const data = float64Of(x, node);
  const all = quantizers([scale, ...rest], node);
  const y = new Float64Array(data.length);
  forEachRun(scaleLayout(x.shape, granularityOf(node, x.shape.length), scale.shape), (start, end, index) => {
    const { scale, zeroPoint, low, high } = all[index];
    for (let i = start; i < end; i++) {
      const v = roundHalfToEven(round(data[i] / scale)) + zeroPoint;
      y[i] = (Math.min(high, Math.max(low, v)) - zeroPoint) * scale;
    }
  });
  return [fromFloat64(x.dtype, x.shape, y, node)];
};

/** Some rows of a tensor along an axis. */
function takeRows(t: Tensor, axis: number, rows: readonly number[], node: Node): Tensor {
  const data = float64Of(t, node);
  const [outer, inner] = [sizeOf(t.shape.slice(0, axis)), sizeOf(t.shape.slice(axis + 1))];
  const picked = new Float64Array(outer * rows.length * inner);
  for (let o = 0; o < outer; o++)
    rows.forEach((row, r) => {
      const from = (o * t.shape[axis] + row) * inner;
      picked.set(data.subarray(from, from + inner), (o * rows.length + r) * inner);
    });
  return { dtype: "float64", shape: t.shape.with(axis, rows.length), data: picked };
}

const FakeQuantizeGradient: Kernel = ([dy, x, scale, zeroPoint, low, high, rows], node) => {
  assert(dy && x && scale && low && high, "FakeQuantizeGradient lacks inputs");
  const round = rounding(x.dtype);
  const granularity = granularityOf(node, x.shape.length);
  const chosen = rows && { axis: rowAxisOfGradient(node, granularity), rows: toNumbers(rows) };
  const scaleAxis = isGrouped(granularity) ? chosen?.axis : 0;
  const take = (t: Tensor, axis = 0): Tensor => (chosen ? takeRows(t, axis, chosen.rows, node) : t);
  const [step, zero] = [take(scale, scaleAxis), zeroPoint && take(zeroPoint, scaleAxis)];
  const all = quantizers([step, zero, low, high], node);
  const [g, data] = [dy, take(x, chosen?.axis)].map((input) => float64Of(input, node));
  const dx = new Float64Array(g.length);
  const dscale = new Float64Array(all.length);
  const dzeroPoint = new Float64Array(all.length);
  forEachRun(scaleLayout(dy.shape, granularity, step.shape), (start, end, index) => {
    const { scale: s, zeroPoint: z, low: lowest, high: highest } = all[index];
    for (let i = start; i < end; i++) {
      const quotient = round(data[i] / s);
      const v = roundHalfToEven(quotient) + z;
      if (v >= lowest && v <= highest) {
        dx[i] = g[i];
        dscale[index] += g[i] * (v - z - quotient);
      } else {
        dscale[index] += g[i] * ((v < lowest ? lowest : highest) - z);
        dzeroPoint[index] -= g[i] * s;
      }
    }
  });
  const parameter = (values: Float64Array): Tensor => fromFloat64(dy.dtype, step.shape, values, node);
  return [fromFloat64(dy.dtype, dy.shape, dx, node), parameter(dscale), parameter(dzeroPoint)];
};

/** The lowest and highest integer of a dtype. */
function rangeOf(dtype: DType): readonly [number, number] {
  const { bits } = dtypes[dtype];
  return dtype.startsWith("u") ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}

/** Which scale each element has, as ONNX's attributes say. */
function scaleIndices(shape: readonly number[], scale: readonly number[], node: Node): Int32Array {
  const result = new Int32Array(sizeOf(shape));
  if (sizeOf(scale) === 1) return result;
  const attributes = { axis: 1, ...node.attributes };
  const granularity = granularityOf({ ...node, attributes }, shape.length);
  forEachRun(scaleLayout(shape, granularity, scale), (start, end, index) => result.fill(index, start, end));
  return result;
}

const QuantizeLinear: Kernel = ([x, scale, zeroPoint], node) => {
  assert(x && scale, "QuantizeLinear without x or scale");
  const dtype = zeroPoint?.dtype ?? (stringAttribute(node, "output_dtype", "uint8") as DType);
  const [low, high] = rangeOf(dtype);
  const round = rounding(x.dtype);
  const scales = float64Of(scale, node);
  const zeroPoints = zeroPoint && float64Of(zeroPoint, node);
  const indices = scaleIndices(x.shape, scale.shape, node);
  const y = float64Of(x, node).map((value, i) => {
    const v = roundHalfToEven(round(value / scales[indices[i]])) + (zeroPoints?.[indices[i]] ?? 0);
    return Math.min(high, Math.max(low, v));
  });
  return [fromFloat64(dtype, x.shape, y, node)];
};

const DequantizeLinear: Kernel = ([x, scale, zeroPoint], node) => {
  assert(x && scale, "DequantizeLinear without x or scale");
  const dtype = stringAttribute(node, "output_dtype", scale.dtype) as DType;
  const round = rounding(scale.dtype);
  const scales = float64Of(scale, node);
  const zeroPoints = zeroPoint && float64Of(zeroPoint, node);
  const indices = scaleIndices(x.shape, scale.shape, node);
  const y = float64Of(x, node).map((value, i) => round(value - (zeroPoints?.[indices[i]] ?? 0)) * scales[indices[i]]);
  return [fromFloat64(dtype, x.shape, y, node)];
};

const DequantizeLinearGradient: Kernel = ([dy, x, scale, zeroPoint], node) => {
  assert(dy && x && scale, "DequantizeLinearGradient lacks inputs");
  const zeroPoints = zeroPoint && float64Of(zeroPoint, node);
  const [g, codes] = [dy, x].map((input) => float64Of(input, node));
  const indices = scaleIndices(x.shape, scale.shape, node);
  const dscale = new Float64Array(sizeOf(scale.shape));
  for (let i = 0; i < g.length; i++) dscale[indices[i]] += g[i] * (codes[i] - (zeroPoints?.[indices[i]] ?? 0));
  return [fromFloat64(scale.dtype, scale.shape, dscale, node)];
};

export const quantizationKernels = {
  FakeQuantize,
  FakeQuantizeGradient,
  QuantizeLinear,
  DequantizeLinear,
  DequantizeLinearGradient,
} satisfies Record<string, Kernel>;
