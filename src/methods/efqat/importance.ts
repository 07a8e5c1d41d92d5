// Importance of blocks of weights: EfQAT eq. 6.
import { sizeOf, type Tensor } from "../../ir/tensor.ts";
import { forEachInRows } from "../../quantizers/qparams.ts";

/** Mean |w| of each row along `axis`. */
export function importanceOfRows(weight: Tensor, axis: number): Float64Array {
  const sums = new Float64Array(weight.shape[axis]);
  forEachInRows(weight, axis, (row, value) => {
    sums[row] += Math.abs(value);
  });
  const perRow = sizeOf(weight.shape) / sums.length;
  return sums.map((sum) => sum / perRow);
}
