// Biases of folded layers: int32 at scale input·weight inside the layer, or floats added behind it.
import type { DType } from "../ir/dtype.ts";
import type { Node } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import type { LinearLayer } from "./linear-layers.ts";
import { forEachInRows } from "./qparams.ts";
import type { Integers } from "./store-weight.ts";

/** Biases are kept below it. */
const largestBias = 2 ** 30;

/**
 * Changes the scales of a weight's rows to fit biases at scale input·weight: a bias that overflows int32 makes the scale of its row coarser; a row
 * of zeros, which any scale fits, takes the one at which its bias is exact.
 */
export function rescaleForBias(
  integers: Integers,
  weight: Tensor,
  axis: number,
  offset: readonly number[],
  inputScale: number,
): void {
  const zeroPointOf = (row: number): number => integers.zeroPoints?.[row] ?? 0;
  const isZero = integers.scales.map(() => true);
  const tensor: Tensor = { ...weight, dtype: integers.zeroPoints ? "uint8" : "int8", data: integers.values };
  forEachInRows(tensor, axis, (row, q) => {
    if (q !== zeroPointOf(row)) isZero[row] = false;
  });
  integers.scales.forEach((_, row) => {
    if (isZero[row] && offset[row] !== 0) integers.scales[row] = Math.abs(offset[row]) / (inputScale * largestBias);
  });
  const factors = integers.scales.map((scale, row) =>
    Math.max(1, Math.abs(offset[row]) / (inputScale * scale * largestBias)),
  );
  if (factors.every((factor) => factor === 1)) return;
  forEachInRows(tensor, axis, (row, q, i) => {
    integers.values[i] = roundHalfToEven((q - zeroPointOf(row)) / factors[row]) + zeroPointOf(row);
  });
  factors.forEach((factor, row) => {
    integers.scales[row] *= factor;
  });
}

/** The node that brings the biases as int32 at scale input·weight. */
export function integerBias(
  { scales: weightScales }: Integers,
  dtype: DType,
  offset: readonly number[],
  inputScale: number,
  { constants, nameOf }: { readonly constants: Map<string, Tensor>; readonly nameOf: (suffix: string) => string },
): Node {
  const stored = (values: readonly number[]): Tensor => tensorOf(dtype, [values.length], values);
  const scales = numbersOf(stored(Array.from(numbersOf(stored(weightScales)), (scale) => scale * inputScale)));
  const [integers, scale] = [nameOf("bias_integers"), nameOf("bias_scale")];
  const values = offset.map((value, row) => roundHalfToEven(value / scales[row]));
  constants.set(integers, tensorOf("int32", [offset.length], values));
  constants.set(scale, tensorOf(dtype, [offset.length], scales));
  return {
    name: nameOf("bias_dequantize"),
    op: "DequantizeLinear",
    inputs: [integers, scale],
    outputs: [nameOf("bias_dequantized")],
    attributes: { axis: 0 },
  };
}

/** The node that adds the biases as floats to the product, which it names too. */
export function floatBias(
  layer: LinearLayer,
  rank: number,
  { dtype }: Tensor,
  { offset, output }: { readonly offset: readonly number[]; readonly output: string },
  { constants, nameOf }: { readonly constants: Map<string, Tensor>; readonly nameOf: (suffix: string) => string },
): { readonly product: string; readonly add: Node } {
  const shape = Array.from({ length: rank }, (_, axis) => (axis === layer.channelAxis ? offset.length : 1));
  const [bias, product] = [nameOf("bias_folded"), nameOf("product")];
  constants.set(bias, tensorOf(dtype, shape, offset));
  const add = { name: nameOf("bias_add"), op: "Add", inputs: [product, bias], outputs: [output], attributes: {} };
  return { product, add };
}
