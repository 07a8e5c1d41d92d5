// Importance of blocks of weights: EfQAT eq. 6.
import { numbersOf, sizeOf, type Tensor } from "../../ir/tensor.ts";

/** Mean |w| of each row along `axis`. In a loop of its own: a call for each weight takes most of inspecting a large model. */
export function importanceOfRows(weight: Tensor, axis: number): Float64Array {
  const sums = new Float64Array(weight.shape[axis]);
  const data = numbersOf(weight);
  const inner = sizeOf(weight.shape.slice(axis + 1));
  for (let i = 0; i < data.length; )
    for (let row = 0; row < sums.length; row++)
      for (const end = i + inner; i < end; i++) sums[row] += Math.abs(data[i]);
  const perRow = sizeOf(weight.shape) / sums.length;
  return sums.map((sum) => sum / perRow);
}
