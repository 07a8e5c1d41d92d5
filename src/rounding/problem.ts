// What a method that rounds is given of one layer, and what it gives.
import type { DType } from "../ir/dtype.ts";
import type { Context } from "../run/context.ts";
import type { Grid } from "./grid.ts";
import type { MatrixForm } from "./matrix-form.ts";
import type { SecondMoments } from "./moments.ts";
import type { Multiply } from "./products.ts";

/** How one layer's weight is to be rounded; all arrays in the order [groups, rows, columns]. */
export interface RoundingProblem {
  /** Of the weight. */
  readonly dtype: DType;
  readonly form: MatrixForm;
  /** The weight in units of its scale, w / s. */
  readonly quotients: Float64Array;
  readonly grid: Grid;
  readonly moments: SecondMoments;
  /** By row: what the normalization behind the layer multiplies its output by. */
  readonly factors: Float64Array;
}

/** Gives the integers. The context's engine compiles steps of one structure once. */
export type RoundingSolver = (problem: RoundingProblem, context: Context, multiply: Multiply) => Promise<Float64Array>;
