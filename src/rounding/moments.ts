// Second moments of what enters a linear layer, and of that with what the layer should give.
import type { MatrixForm } from "./matrix-form.ts";
import type { Multiply } from "./products.ts";

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

/** W A, [groups, rows, columns] as W. */
export const timesInputs = (
  { form: { groups, rows, columns }, inputs }: SecondMoments,
  weight: Float64Array,
  multiply: Multiply,
): Promise<Float64Array> => multiply(weight, inputs, { groups, rows, inner: columns, columns });

/** By output: the mean squared error of weights [groups, rows, columns], w A wᵀ − 2 w cᵀ + t². */
export async function errorOfRows(
  moments: SecondMoments,
  weight: Float64Array,
  multiply: Multiply,
): Promise<Float64Array> {
  const { form, count, cross, targets } = moments;
  const product = await timesInputs(moments, weight, multiply);
  return targets.map((target, row) => {
    let error = target;
    for (let at = row * form.columns; at < (row + 1) * form.columns; at++)
      error += weight[at] * (product[at] - 2 * cross[at]);
    return error / Math.max(1, count);
  });
}
