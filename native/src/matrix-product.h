// Products of two matrices whose sizes are known only when they are multiplied: by oneDNN, of float64 by loops of our own.
#pragma once
#include <cstdint>

namespace frostbit {

/** A row-major matrix, or the transpose of one: elements of the memory's rows lie side by side, the rows `step` apart. */
template <class T>
struct Matrix {
  T* data;
  bool is_transposed;
  int64_t step;

  Matrix from_row(int64_t row) const { return {data + row * (is_transposed ? 1 : step), is_transposed, step}; }
  Matrix from_column(int64_t column) const { return {data + column * (is_transposed ? step : 1), is_transposed, step}; }
  Matrix transposed() const { return {data, !is_transposed, step}; }
};

struct ProductSizes {
  int64_t m, n, k;
};

/** What a product is besides its sizes. */
struct ProductManner {
  float alpha = 1;
  /** It is added to what y holds. */
  bool adds = false;
  uint8_t zero = 0;
};

/** y = alpha · a · b; y is not transposed. Throws PlanError where oneDNN refuses. */
void multiply(const ProductSizes& sizes, const ProductManner& manner, const Matrix<float>& a, const Matrix<float>& b,
              const Matrix<float>& y);

/** y = a · b of bfloat16, with float32 sums. */
void multiply(const ProductSizes& sizes, const ProductManner& manner, const Matrix<uint16_t>& a, const Matrix<uint16_t>& b,
              const Matrix<float>& y);

/** y = (a − zero) · b, exact. */
void multiply(const ProductSizes& sizes, const ProductManner& manner, const Matrix<uint8_t>& a, const Matrix<int8_t>& b,
              const Matrix<int32_t>& y);

/** y = a · b of float64, for which oneDNN has nothing. */
void multiply(const ProductSizes& sizes, const ProductManner& manner, const Matrix<double>& a, const Matrix<double>& b,
              const Matrix<double>& y);

}  // namespace frostbit
