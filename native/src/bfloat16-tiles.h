// Tiles of products of bfloat16 with float32 sums, and what they read: rows of a where they lie or packed, columns of b packed.
#pragma once
#include <cstdint>

#include "matrix-product.h"

namespace frostbit {

/** Rows of a tile, and columns of a panel at most. */
constexpr int64_t kTileHeight = 8, kPanelWidth = 48;

/** Eight rows of a. Where they are packed, the elements k and k + 1 of all rows lie side by side. */
struct TileRows {
  const uint16_t* data;
  /** Elements from a row to the next one, and from two elements of a row to its next two. */
  int64_t row_step, pair_step;
};

struct Bfloat16Tiles {
  const char* name;
  /** Columns of b, of k elements each, as [pair of elements][column, up to the next sixteenth][2]; zeros where nothing is. */
  void (*pack_columns)(const Matrix<uint16_t>& b, int64_t k, int64_t columns, uint16_t* panel);
  /** Rows of a, of k elements each, as [8 rows][pair of elements][row][2]; zeros where nothing is. */
  void (*pack_rows)(const Matrix<uint16_t>& a, int64_t rows, int64_t k, uint16_t* tiles);
  /** Sums of 8 rows and a panel, of which m × n are written: added to what y holds where `adds`. */
  void (*multiply)(const ProductSizes& sizes, bool adds, const TileRows& a, const uint16_t* panel, float* y, int64_t y_step);
  /** The same, rounded. */
  void (*multiply_rounded)(const ProductSizes& sizes, const TileRows& a, const uint16_t* panel, uint16_t* y, int64_t y_step);
};

/** Null where the processor lacks AVX-512-BF16 or FROSTBIT_MAX_CPU_ISA forbids it. */
const Bfloat16Tiles* bfloat16_tiles();

#if defined(__x86_64__)
extern const Bfloat16Tiles bfloat16_tiles_avx512_bf16;
#endif

}  // namespace frostbit
