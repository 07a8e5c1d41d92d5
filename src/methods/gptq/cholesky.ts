// Cholesky factors of symmetric positive definite matrices [n, n], row by row, in float64.
import { FrostbitError } from "../../ir/errors.ts";

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
      if (i === j) l[j * n + j] = pivot(sum0, j, n);
      const diagonal = l[j * n + j];
      if (i !== j) l[i * n + j] = sum0 / diagonal;
      if (i1 !== j) l[i1 * n + j] = sum1 / diagonal;
      if (i2 !== j) l[i2 * n + j] = sum2 / diagonal;
      if (i3 !== j) l[i3 * n + j] = sum3 / diagonal;
    }
  }
  return l;
}

function pivot(square: number, at: number, n: number): number {
  if (square > 0) return Math.sqrt(square);
  throw new FrostbitError(
    "BAD_DATA",
    `The second moments of a layer's inputs are not positive definite (pivot ${at} of ${n} is ${square}). Use more calibration samples, or a larger damping.`,
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

/** U, upper triangular, with Uᵀ U = A⁻¹. */
export function inverseFactor(a: Float64Array, n: number): Float64Array {
  // Factored from the end to the front, A = R Rᵀ with R upper triangular: U = R⁻¹.
  const reversed = Float64Array.from({ length: n * n }, (_, i) => a[n * n - 1 - i]);
  const inverse = invertLower(cholesky(reversed, n), n);
  return Float64Array.from({ length: n * n }, (_, i) => inverse[n * n - 1 - i]);
}
