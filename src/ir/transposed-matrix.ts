import type { Tensor } from "./tensor.ts";

/** A matrix [rows, columns] as [columns, rows]. */
export function transposedMatrix(matrix: Tensor): Tensor {
  const [rows, columns] = matrix.shape;
  const from = matrix.data as Float64Array;
  const to = from.slice();
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) to[column * rows + row] = from[row * columns + column];
  return { dtype: matrix.dtype, shape: [columns, rows], data: to };
}
