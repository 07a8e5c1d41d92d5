// Products of float64: tiles of y in registers, from panels of a and b that are copied to where both stay in the caches.
#include <algorithm>
#include <vector>

#include "kernels.h"
#include "matrix-product.h"

namespace frostbit {
namespace {

/** Of the summed axis, and of rows of a. */
constexpr int64_t kDepth = 256, kHeight = 16 * kTileRows;

/** panel[p, i] = matrix[i, p] for `width` rows of it, zeros behind the last; read in the order of its memory. */
void copy_panel(const Matrix<double>& matrix, int64_t rows, int64_t depth, int64_t width, double* panel) {
  const int64_t there = std::min(rows, width);
  if (there < width) std::fill_n(panel, depth * width, 0.0);
  if (matrix.is_transposed) {
    for (int64_t p = 0; p < depth; p++) std::copy_n(matrix.data + p * matrix.step, there, panel + p * width);
  } else {
    for (int64_t i = 0; i < there; i++)
      for (int64_t p = 0; p < depth; p++) panel[p * width + i] = matrix.data[i * matrix.step + p];
  }
}

void add_tile(const double* tile, int64_t tile_columns, int64_t rows, int64_t columns, double* y, int64_t step) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) y[i * step + j] += tile[i * tile_columns + j];
}

}  // namespace

void multiply(const ProductSizes& sizes, const ProductManner& manner, const Matrix<double>& a, const Matrix<double>& b,
              const Matrix<double>& y) {
  const auto& [m, n, k] = sizes;
  const Kernels& kernels = best_kernels();
  const int64_t width = kernels.tile_columns;
  thread_local std::vector<double> left(kHeight * kDepth), right(kMaxTileColumns * kDepth);
  double tile[kTileRows * kMaxTileColumns];
  if (!manner.adds)
    for (int64_t i = 0; i < m; i++) std::fill_n(y.data + i * y.step, n, 0.0);
  for (int64_t depth = 0; depth < k; depth += kDepth) {
    const int64_t count = std::min(kDepth, k - depth);
    for (int64_t top = 0; top < m; top += kHeight) {
      const int64_t height = std::min(kHeight, m - top);
      for (int64_t i = 0; i < height; i += kTileRows)
        copy_panel(a.from_row(top + i).from_column(depth), height - i, count, kTileRows, left.data() + i * count);
      for (int64_t j = 0; j < n; j += width) {
        copy_panel(b.from_row(depth).from_column(j).transposed(), n - j, count, width, right.data());
        for (int64_t i = 0; i < height; i += kTileRows) {
          kernels.multiply_tile(left.data() + i * count, right.data(), count, tile);
          add_tile(tile, width, std::min(kTileRows, height - i), std::min(width, n - j), y.data + (top + i) * y.step + j,
                   y.step);
        }
      }
    }
  }
}

}  // namespace frostbit
