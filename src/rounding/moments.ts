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
    for (let i = 0; i < columns; i++) {
      let product = -2 * cross[row * columns + i];
      for (let j = 0; j < columns; j++) product += inputs[a + i * columns + j] * w[j];
      error += w[i] * product;
    }
    return error / Math.max(1, count);
  });
}
