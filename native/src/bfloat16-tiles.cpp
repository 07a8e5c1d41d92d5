// The loops behind bfloat16-tiles.h, compiled for AVX-512-BF16; the rule at the top of kernels.cpp holds here too.
#include "bfloat16-tiles.h"

#if defined(__x86_64__)
#include "avx512.h"

namespace frostbit {
namespace {

using Pairs = __m512i;

__mmask16 first_lanes(int64_t count) { return static_cast<__mmask16>((1u << min_of(count, kLanes)) - 1); }

/** Columns whose elements lie side by side. */
void pack_lying_columns(const Matrix<uint16_t>& b, int64_t k, int64_t columns, uint16_t* panel) {
  const int64_t width = ceiling(columns, kLanes) * kLanes;
  Pairs in[16], out[16];
  for (int64_t column = 0; column < columns; column += kLanes)
    for (int64_t at = 0; at < k; at += 2 * kLanes) {
      const int64_t count = min_of(2 * kLanes, k - at);
      const auto mask = static_cast<__mmask32>((uint64_t{1} << count) - 1);
      for (int64_t i = 0; i < kLanes; i++)
        in[i] =
            column + i < columns ? _mm512_maskz_loadu_epi16(mask, b.data + (column + i) * b.step + at) : _mm512_setzero_si512();
      transpose(in, out);
      for (int64_t i = 0; i < ceiling(count, 2); i++) _mm512_storeu_si512(panel + (at + 2 * i) * width + 2 * column, out[i]);
    }
}

/** Elements k and k + 1 of sixteen columns, or rows, whose k-th elements lie side by side from `even` on. */
Pairs pairs_from(const uint16_t* even, int64_t step, bool has_odd, __mmask16 mask) {
  const __m256i odd = has_odd ? _mm256_maskz_loadu_epi16(mask, even + step) : _mm256_setzero_si256();
  const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16);
  return _mm512_or_si512(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, even)), high);
}

void pack_columns(const Matrix<uint16_t>& b, int64_t k, int64_t columns, uint16_t* panel) {
  if (b.is_transposed) return pack_lying_columns(b, k, columns, panel);
  const int64_t width = ceiling(columns, kLanes) * kLanes;
  for (int64_t at = 0; at < k; at += 2)
    for (int64_t column = 0; column < columns; column += kLanes) {
      const Pairs pairs = pairs_from(b.data + at * b.step + column, b.step, at + 1 < k, first_lanes(columns - column));
      _mm512_storeu_si512(panel + at * width + 2 * column, pairs);
    }
}

/** Few rows, whose elements lie side by side. */
void pack_lying_rows(const Matrix<uint16_t>& a, int64_t rows, int64_t k, uint16_t* tiles) {
  const int64_t tile = ceiling(k, 2) * 2 * kTileHeight;
  memset(tiles, 0, static_cast<size_t>(ceiling(rows, kTileHeight) * tile) * sizeof *tiles);
  for (int64_t row = 0; row < rows; row++)
    for (int64_t at = 0; at < k; at++)
      tiles[row / kTileHeight * tile + at / 2 * 2 * kTileHeight + row % kTileHeight * 2 + at % 2] = a.data[row * a.step + at];
}

void pack_rows(const Matrix<uint16_t>& a, int64_t rows, int64_t k, uint16_t* tiles) {
  if (!a.is_transposed) return pack_lying_rows(a, rows, k, tiles);
  const int64_t tile = ceiling(k, 2) * 2 * kTileHeight;
  for (int64_t row = 0; row < rows; row += kLanes, tiles += 2 * tile) {
    const bool has_second = rows - row > kTileHeight;
    for (int64_t at = 0; at < k; at += 2) {
      const Pairs pairs = pairs_from(a.data + at * a.step + row, a.step, at + 1 < k, first_lanes(rows - row));
      uint16_t* const place = tiles + at * kTileHeight;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(place), _mm512_castsi512_si256(pairs));
      if (has_second) _mm256_storeu_si256(reinterpret_cast<__m256i*>(place + tile), _mm512_extracti64x4_epi64(pairs, 1));
    }
  }
}

struct ToFloat {
  float* y;
  int64_t step;
  bool adds;

  __attribute__((always_inline)) void put(int64_t i, int64_t j, int64_t count, __m512 sums) const {
    float* const place = y + i * step + j;
    const __mmask16 mask = first_lanes(count);
    _mm512_mask_storeu_ps(place, mask, adds ? _mm512_add_ps(sums, _mm512_maskz_loadu_ps(mask, place)) : sums);
  }
};

struct ToBfloat16 {
  uint16_t* y;
  int64_t step;

  __attribute__((always_inline)) void put(int64_t i, int64_t j, int64_t count, __m512 sums) const {
    uint16_t* const place = y + i * step + j;
    const auto lanes = (__m256i)_mm512_cvtneps_pbh(sums);
    // Stores with a mask of 16-bit lanes are slow.
    if (count >= kLanes)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(place), lanes);
    else
      _mm256_mask_storeu_epi16(place, first_lanes(count), lanes);
  }
};

/** Sums of 8 rows and kVectors times 16 columns stay in registers. */
template <int kVectors, class To>
void multiply_tile(const ProductSizes& sizes, const TileRows& a, const uint16_t* panel, const To& to) {
  __m512 sums[kTileHeight][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kTileHeight; i++)
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; j++) sums[i][j] = _mm512_setzero_ps();
  const uint16_t* row = a.data;
  for (int64_t k = 0; k < sizes.k; k += 2, row += a.pair_step, panel += 2 * kVectors * kLanes) {
    Pairs columns[kVectors];
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; j++) columns[j] = _mm512_loadu_si512(panel + 2 * j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kTileHeight; i++) {
      int32_t pair;
      memcpy(&pair, row + i * a.row_step, sizeof pair);
      const Pairs everywhere = _mm512_set1_epi32(pair);
#pragma GCC unroll 3
      for (int j = 0; j < kVectors; j++) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], (__m512bh)everywhere, (__m512bh)columns[j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTileHeight; i++) {
    if (i == sizes.m) return;
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; j++) to.put(i, j * kLanes, sizes.n - j * kLanes, sums[i][j]);
  }
}

template <class To>
void multiply_panel(const ProductSizes& sizes, const TileRows& a, const uint16_t* panel, const To& to) {
  if (sizes.n > 2 * kLanes) return multiply_tile<3>(sizes, a, panel, to);
  if (sizes.n > kLanes) return multiply_tile<2>(sizes, a, panel, to);
  multiply_tile<1>(sizes, a, panel, to);
}

void multiply(const ProductSizes& sizes, bool adds, const TileRows& a, const uint16_t* panel, float* y, int64_t y_step) {
  multiply_panel(sizes, a, panel, ToFloat{y, y_step, adds});
}

void multiply_rounded(const ProductSizes& sizes, const TileRows& a, const uint16_t* panel, uint16_t* y, int64_t y_step) {
  multiply_panel(sizes, a, panel, ToBfloat16{y, y_step});
}

}  // namespace

const Bfloat16Tiles bfloat16_tiles_avx512_bf16 = {"avx512_bf16", pack_columns, pack_rows, multiply, multiply_rounded};

}  // namespace frostbit
#endif
