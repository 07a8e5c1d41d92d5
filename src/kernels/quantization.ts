// Quantization as every runtime does it: float32 quotients are rounded to float32 before they are rounded to integers.

import { type DType, dtypes } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import type { Node } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { sizeOf, type Tensor, toNumbers } from "../ir/tensor.ts";
import { numberAttribute, stringAttribute } from "../ops/attributes.ts";
import { resolveAxis } from "../ops/operands.ts";
import { float64Of, fromFloat64, rounding } from "./float64.ts";
import type { Kernel } from "./kernel.ts";

/** A tensor as [outer, size along the axis, inner]; without an axis as one row. */
interface Rows {
  readonly outer: number;
  readonly size: number;
  readonly inner: number;
}

function rowsOf(shape: readonly number[], axis: number | undefined, node: Node): Rows {
  if (axis === undefined) return { outer: 1, size: 1, inner: sizeOf(shape) };
  const at = resolveAxis(node, axis, shape.length);
  return { outer: sizeOf(shape.slice(0, at)), size: shape[at], inner: sizeOf(shape.slice(at + 1)) };
}

interface Quantizer {
  readonly scale: number;
  readonly zeroPoint: number;
  readonly low: number;
  readonly high: number;
}

/** The quantizer of each row along the axis; a zero point beyond the integers counts as the nearest of them. */
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

const FakeQuantize: Kernel = ([x, ...qparams], node) => {
  assert(x, "FakeQuantize without x");
  const round = rounding(x.dtype);
  const data = float64Of(x, node);
  const { outer, size, inner } = rowsOf(x.shape, numberAttribute(node, "axis"), node);
  const all = quantizers(qparams, node);
  const y = new Float64Array(data.length);
  for (let o = 0; o < outer; o++)
    for (let row = 0; row < size; row++) {
      const { scale, zeroPoint, low, high } = all[row];
      const start = (o * size + row) * inner;
      for (let i = start; i < start + inner; i++) {
        const v = roundHalfToEven(round(data[i] / scale)) + zeroPoint;
        y[i] = (Math.min(high, Math.max(low, v)) - zeroPoint) * scale;
      }
    }
  return [fromFloat64(x.dtype, x.shape, y, node)];
};

const FakeQuantizeGradient: Kernel = ([dy, x, scale, zeroPoint, low, high, rows], node) => {
  assert(dy && x && scale, "FakeQuantizeGradient lacks inputs");
  const round = rounding(x.dtype);
  const [g, data] = [dy, x].map((input) => float64Of(input, node));
  const axis = numberAttribute(node, "axis");
  const { outer, size, inner } = rowsOf(x.shape, axis, node);
  const all = quantizers([scale, zeroPoint, low, high], node);
  const selected = rows ? toNumbers(rows) : all.map((_, row) => row);
  const dx = new Float64Array(g.length);
  const dscale = new Float64Array(selected.length);
  const dzeroPoint = new Float64Array(selected.length);
  for (let o = 0; o < outer; o++)
    selected.forEach((row, r) => {
      const { scale: s, zeroPoint: z, low: lowest, high: highest } = all[row];
      const from = (o * size + row) * inner;
      const to = (o * selected.length + r) * inner;
      for (let i = 0; i < inner; i++) {
        const quotient = round(data[from + i] / s);
        const v = roundHalfToEven(quotient) + z;
        const gradient = g[to + i];
        if (v >= lowest && v <= highest) {
          dx[to + i] = gradient;
          dscale[r] += gradient * (v - z - quotient);
        } else {
          dscale[r] += gradient * ((v < lowest ? lowest : highest) - z);
          dzeroPoint[r] -= gradient * s;
        }
      }
    });
  const parameter = (values: Float64Array): Tensor =>
    fromFloat64(dy.dtype, axis === undefined ? [] : [selected.length], values, node);
  return [fromFloat64(dy.dtype, dy.shape, dx, node), parameter(dscale), parameter(dzeroPoint)];
};

/** The lowest and highest integer of a dtype. */
function rangeOf(dtype: DType): readonly [number, number] {
  const { bits } = dtypes[dtype];
  return dtype.startsWith("u") ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}

/** Which scale each element has: one for all, one per row, or one per block of rows. */
function scaleIndices(shape: readonly number[], scale: readonly number[], node: Node): Int32Array {
  const result = new Int32Array(sizeOf(shape));
  if (sizeOf(scale) === 1) return result;
  const axis = resolveAxis(node, numberAttribute(node, "axis", 1), shape.length);
  const block = numberAttribute(node, "block_size", 0);
  const { outer, size, inner } = rowsOf(shape, axis, node);
  for (let o = 0; o < outer; o++)
    for (let row = 0; row < size; row++)
      for (let i = 0; i < inner; i++)
        result[(o * size + row) * inner + i] =
          block === 0 ? row : (o * scale[axis] + Math.floor(row / block)) * inner + i;
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

export const quantizationKernels = {
  FakeQuantize,
  FakeQuantizeGradient,
  QuantizeLinear,
  DequantizeLinear,
} satisfies Record<string, Kernel>;
