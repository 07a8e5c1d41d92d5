// What second moments say, written down as their definitions are.
import type { SecondMoments } from "../../src/rounding/moments.ts";
import type { Multiply } from "../../src/rounding/products.ts";

export const multiply: Multiply = async (a, b, { groups, rows, inner, columns }) =>
  Float64Array.from({ length: groups * rows * columns }, (_, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns];
    const start = Math.floor(row / rows) * inner * columns;
    let sum = 0;
    for (let k = 0; k < inner; k++) sum += a[row * inner + k] * b[start + k * columns + column];
    return sum;
  });

/** By output: the mean squared error of weights [groups, rows, columns], w A wᵀ − 2 w cᵀ + t². */
export function errorsByRow(
  { form: { groups, rows, columns }, count, inputs, cross, targets }: SecondMoments,
  weight: Float64Array,
): Float64Array {
  return Float64Array.from({ length: groups * rows }, (_, row) => {
    const [start, group] = [row * columns, Math.floor(row / rows)];
    let error = targets[row];
    for (let i = 0; i < columns; i++) {
      error -= 2 * weight[start + i] * cross[start + i];
      for (let j = 0; j < columns; j++)
        error += weight[start + i] * inputs[(group * columns + i) * columns + j] * weight[start + j];
    }
    return error / count;
  });
}
