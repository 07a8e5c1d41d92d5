// Cholesky factors of symmetric positive definite matrices [n, n], row by row, in float64.
import { FrostbitError } from "../../ir/errors.ts";
import { tensor } from "../../ir/tensor.ts";
import { transposedMatrix } from "../../ir/transposed-matrix.ts";
import type { Multiply } from "../../rounding/products.ts";

/** Matrices of so many rows are not cut further. */
const leafRows = 64;

/** L, lower triangular, with L Lᵀ = A: column by column, of which four elements at a time do not wait for each other. */
function cholesky(a: Float64Array, n: number): Float64Array {
  const l = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    const row = l.subarray(j * n, j * n + j);
    for (let i = j; i < n; i += 4) {
      const [i1, i2, i3] = [i + 1, i + 2, i + 3].map((each) => Math.min(each, n - 1));
      let [sum0, sum1, sum2, sum3] = [a[i * n + j], a[i1 * n + j], a[i2 * n + j], a[i3 * n + j]];
      for (let k = 0; k < j; k++) {
        const known = row[k];
        sum0 -= l[i * n + k] * known;
        sum1 -= l[i1 * n + k] * known;
        sum2 -= l[i2 * n + k] * known;
        sum3 -= l[i3 * n + k] * known;
      }
      if (i === j) l[j * n + j] = pivot(sum0);
      const diagonal = l[j * n + j];
      if (i !== j) l[i * n + j] = sum0 / diagonal;
      if (i1 !== j) l[i1 * n + j] = sum1 / diagonal;
      if (i2 !== j) l[i2 * n + j] = sum2 / diagonal;
      if (i3 !== j) l[i3 * n + j] = sum3 / diagonal;
    }
  }
  return l;
}

function pivot(square: number): number {
  if (square > 0) return Math.sqrt(square);
  throw new FrostbitError(
    "BAD_DATA",
    `The second moments of a layer's inputs are not positive definite (a pivot is ${square}). Use more calibration samples, or a larger damping.`,
  );
}

/** The inverse of a lower triangular matrix. */
function invertLower(l: Float64Array, n: number): Float64Array {
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    inverse[i * n + i] = 1 / l[i * n + i];
    for (let k = 0; k < i; k++) {
      const factor = l[i * n + k] / l[i * n + i];
      for (let j = 0; j <= k; j++) inverse[i * n + j] -= factor * inverse[k * n + j];
    }
  }
  return inverse;
}

/** A corner of a matrix [n, n], [rows, columns]. */
function cut(a: Float64Array, n: number, [top, rows]: Span, [left, columns]: Span): Float64Array {
  const result = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    result.set(a.subarray((top + i) * n + left, (top + i) * n + left + columns), i * columns);
  return result;
}

/** The first, and how many. */
type Span = readonly [number, number];

/**
 * L⁻¹ with L Lᵀ = A: of both halves on the diagonal by itself, the rest by products. L₂₁ = A₂₁ L₁₁⁻ᵀ, L₂₂ L₂₂ᵀ = A₂₂ − L₂₁ L₂₁ᵀ,
 * and the inverse has −L₂₂⁻¹ L₂₁ L₁₁⁻¹ in L₂₁'s place.
 */
async function inverseOfFactor(a: Float64Array, n: number, multiply: Multiply): Promise<Float64Array> {
  if (n <= leafRows) return invertLower(cholesky(a, n), n);
  const half = n >> 1;
  const [first, second]: readonly Span[] = [
    [0, half],
    [half, n - half],
  ];
  const product = (x: Float64Array, y: Float64Array, rows: number, inner: number, columns: number) =>
    multiply(x, y, { groups: 1, rows, inner, columns });
  const rest = n - half;
  const inverse1 = await inverseOfFactor(cut(a, n, first, first), half, multiply);
  const l21 = await product(cut(a, n, second, first), turned(inverse1, half, half), rest, half, half);
  const square = await product(l21, turned(l21, rest, half), rest, half, rest);
  const a22 = cut(a, n, second, second);
  for (let i = 0; i < a22.length; i++) a22[i] -= square[i];
  const inverse2 = await inverseOfFactor(a22, rest, multiply);
  const below = await product(inverse2, await product(l21, inverse1, rest, half, half), rest, rest, half);
  const result = new Float64Array(n * n);
  for (let i = 0; i < half; i++) result.set(inverse1.subarray(i * half, (i + 1) * half), i * n);
  for (let i = 0; i < rest; i++) {
    for (let j = 0; j < half; j++) result[(half + i) * n + j] = -below[i * half + j];
    result.set(inverse2.subarray(i * rest, (i + 1) * rest), (half + i) * n + half);
  }
  return result;
}

const turned = (matrix: Float64Array, rows: number, columns: number): Float64Array =>
  transposedMatrix(tensor("float64", [rows, columns], matrix)).data as Float64Array;

/** U, upper triangular, with Uᵀ U = A⁻¹. */
export async function inverseFactor(a: Float64Array, n: number, multiply: Multiply): Promise<Float64Array> {
  // Factored from the end to the front, A = R Rᵀ with R upper triangular: U = R⁻¹.
  return (await inverseOfFactor(a.toReversed(), n, multiply)).reverse();
}
