// Cholesky factors of symmetric positive definite matrices [n, n], row by row, in float64.
import { FrostbitError } from "../../ir/errors.ts";

/** L, lower triangular, with L Lᵀ = A. */
function cholesky(a: Float64Array, n: number): Float64Array {
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j];
      for (let k = 0; k < j; k++) sum -= l[i * n + k] * l[j * n + k];
      if (i === j && !(sum > 0))
        throw new FrostbitError(
          "BAD_DATA",
          `The second moments of a layer's inputs are not positive definite (pivot ${i} of ${n} is ${sum}). Use more calibration samples, or a larger damping.`,
        );
      l[i * n + j] = i === j ? Math.sqrt(sum) : sum / l[j * n + j];
    }
  return l;
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
