// Products with a constant matrix along one axis.
import type { Builder } from "../ir/builder.ts";
import { tensorOf } from "../ir/tensor.ts";

export interface AxisMatrix {
  readonly axis: number;
  readonly inputSize: number;
  readonly outputSize: number;
  /** [outputSize, inputSize], row-major. */
  readonly matrix: Float64Array;
}

/** dy, of outputSize along the axis, times the matrix: inputSize along the axis. */
export function transposedProduct(
  build: Builder,
  dy: string,
  { axis, inputSize, outputSize, matrix }: AxisMatrix,
): string {
  const { dtype, shape } = build.type(dy);
  const weights = build.constant(tensorOf(dtype, [outputSize, inputSize], matrix), "interpolation");
  const last = shape.length - 1;
  if (axis === last) return build.node("MatMul", [dy, weights]);
  const perm = shape.map((_, i) => (i === axis ? last : i === last ? axis : i));
  const moved = build.node("Transpose", [dy], { perm });
  return build.node("Transpose", [build.node("MatMul", [moved, weights])], { perm });
}
