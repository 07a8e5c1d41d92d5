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

/** Loops of our own for products of bfloat16: where oneDNN's with AMX are faster, or the processor has no bfloat16, there are
 * none; where they give something else than plain loops they are not used. */
enum class TilesState { Absent, Serve, Differ };

TilesState tiles_state();

/** y = a · b by these loops, plus what y holds where `adds`. False where they do not serve: then nothing is done. */
bool multiply_by_tiles(const ProductSizes& sizes, bool adds, const Matrix<uint16_t>& a, const Matrix<uint16_t>& b,
                       const Matrix<float>& y);

/** The same with sums rounded to bfloat16. */
bool multiply_by_tiles(const ProductSizes& sizes, const Matrix<uint16_t>& a, const Matrix<uint16_t>& b,
                       const Matrix<uint16_t>& y);

/** y = (a − zero) · b, exact. */
void multiply(const ProductSizes& sizes, const ProductManner& manner, const Matrix<uint8_t>& a, const Matrix<int8_t>& b,
              const Matrix<int32_t>& y);

/** y = a · b of float64, for which oneDNN has nothing. */
void multiply(const ProductSizes& sizes, const ProductManner& manner, const Matrix<double>& a, const Matrix<double>& b,
              const Matrix<double>& y);

}  // namespace frostbit
