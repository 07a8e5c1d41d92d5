// Second moments of what enters a linear layer, and of that with what the layer should give.
import type { MatrixForm } from "./matrix-form.ts";

/**
 * Sums over `count` samples of a layer's inputs x and of what it should give for them, t. All that the squared error of a weight
 * Ŵ needs: Σ‖Ŵx − t‖² = tr(Ŵ A Ŵᵀ) − 2 tr(Ŵ Cᵀ) + Σ‖t‖².
 */
export interface SecondMoments {
  readonly form: MatrixForm;
  readonly count: number;
  /** A = Σ x xᵀ, [groups, columns, columns]. */
  readonly inputs: Float64Array;
  /** C = Σ t xᵀ, [groups, rows, columns]. */
  readonly cross: Float64Array;
  /** Σ t², [groups, rows]. */
  readonly targets: Float64Array;
}

/** By output: the mean squared error of weights [groups, rows, columns], w A wᵀ − 2 w cᵀ + t². */
export function errorOfRows(
  { form, count, inputs, cross, targets }: SecondMoments,
  weight: Float64Array,
): Float64Array {
  const { groups, rows, columns } = form;
  return Float64Array.from({ length: groups * rows }, (_, row) => {
    const w = weight.subarray(row * columns, (row + 1) * columns);
    const a = Math.floor(row / rows) * columns * columns;
    let error = targets[row];
    for (let i = 0; i < columns; i++)
      if (w[i] !== 0) error += w[i] * (dotAt(inputs, a + i * columns, w, columns) - 2 * cross[row * columns + i]);
    return error / Math.max(1, count);
  });
}

/** Σ a[start + i] · b[i] of the first `count`, in four sums that do not wait for each other. */
export function dotAt(a: Float64Array, start: number, b: Float64Array, count: number): number {
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;
  const whole = count - (count % 4);
  for (let i = 0; i < whole; i += 4) {
    sum0 += a[start + i] * b[i];
    sum1 += a[start + i + 1] * b[i + 1];
    sum2 += a[start + i + 2] * b[i + 2];
    sum3 += a[start + i + 3] * b[i + 3];
  }
  for (let i = whole; i < count; i++) sum0 += a[start + i] * b[i];
  return sum0 + sum1 + (sum2 + sum3);
}
