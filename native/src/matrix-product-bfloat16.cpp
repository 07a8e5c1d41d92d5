// Products of bfloat16 by loops of our own: tiles of y in registers, from panels of b that are copied to where they stay in the
// second-level cache.
#include <algorithm>
#include <cstring>
#include <vector>

#include "bfloat16-tiles.h"
#include "dnnl-compat.h"
#include "matrix-product.h"

namespace frostbit {
namespace {

/** Of the summed axis at most, where sums may be added to y. */
constexpr int64_t kDepth = 1024;
/** Elements of the panels of b that rows of tiles are multiplied by, and of a's tiles that are packed at once. */
constexpr int64_t kPanelElements = 192 * 1024, kPackedElements = 1024 * 1024;

int64_t even(int64_t count) { return (count + 1) / 2 * 2; }

/** Of each panel, so that all have about as many: whole vectors. */
int64_t panel_width(int64_t columns) {
  constexpr int64_t kLanes = 16;
  const int64_t vectors = (columns + kLanes - 1) / kLanes, panels = (columns + kPanelWidth - 1) / kPanelWidth;
  return (vectors + panels - 1) / panels * kLanes;
}

/** How many of a's first rows tiles read where they lie. */
int64_t lying_rows(const Matrix<uint16_t>& a, int64_t rows, int64_t k) {
  return a.is_transposed || k % 2 != 0 ? 0 : rows / kTileHeight * kTileHeight;
}

template <class T>
T* at_least(std::vector<T>& memory, int64_t count) {
  if (static_cast<int64_t>(memory.size()) < count) memory.resize(count);
  return memory.data();
}

/** Calls `multiply` with each tile's sizes, its rows of a, its panel of b, and its first row and column of y. */
template <class Multiply>
void for_each_tile(const Bfloat16Tiles& tiles, const ProductSizes& sizes, const Matrix<uint16_t>& a, const Matrix<uint16_t>& b,
                   const Multiply& multiply) {
  const auto& [m, n, k] = sizes;
  const int64_t width = panel_width(n), panel = even(k) * width;
  const int64_t columns_at_once = std::max(kPanelElements / panel, int64_t{1}) * width;
  const bool lies = lying_rows(a, m, k) > 0;
  const int64_t rows_at_once = lies ? m : std::max(kPackedElements / (16 * even(k)), int64_t{1}) * 16;
  thread_local std::vector<uint16_t> left, right;
  const int64_t most_packed = std::min(rows_at_once, m - lying_rows(a, m, k));
  uint16_t* const packed = at_least(left, (most_packed + 15) / 16 * 16 * even(k));
  uint16_t* const panels = at_least(right, columns_at_once * even(k));
  for (int64_t top = 0; top < m; top += rows_at_once) {
    const int64_t height = std::min(rows_at_once, m - top);
    const Matrix<uint16_t> rows = a.from_row(top);
    const int64_t lying = lying_rows(a, height, k);
    if (lying < height) tiles.pack_rows(rows.from_row(lying), height - lying, k, packed);
    const auto rows_from = [&](int64_t i) -> TileRows {
      if (i < lying) return {rows.data + i * rows.step, rows.step, 2};
      return {packed + (i - lying) * even(k), 2, 2 * kTileHeight};
    };
    for (int64_t first = 0; first < n; first += columns_at_once) {
      const int64_t last = std::min(first + columns_at_once, n);
      for (int64_t j = first; j < last; j += width)
        tiles.pack_columns(b.from_column(j), k, std::min(width, last - j), panels + (j - first) * even(k));
      for (int64_t i = 0; i < height; i += kTileHeight)
        for (int64_t j = first; j < last; j += width)
          multiply(ProductSizes{std::min(kTileHeight, height - i), std::min(width, last - j), k}, rows_from(i),
                   panels + (j - first) * even(k), top + i, j);
    }
  }
}

void multiply(const Bfloat16Tiles& tiles, const ProductSizes& sizes, bool adds, const Matrix<uint16_t>& a,
              const Matrix<uint16_t>& b, const Matrix<float>& y) {
  for (int64_t depth = 0; depth < sizes.k; depth += kDepth) {
    const ProductSizes part{sizes.m, sizes.n, std::min(kDepth, sizes.k - depth)};
    for_each_tile(tiles, part, a.from_column(depth), b.from_row(depth),
                  [&](const ProductSizes& own, const TileRows& rows, const uint16_t* panel, int64_t i, int64_t j) {
                    tiles.multiply(own, adds || depth > 0, rows, panel, y.data + i * y.step + j, y.step);
                  });
  }
}

void multiply_rounded(const Bfloat16Tiles& tiles, const ProductSizes& sizes, const Matrix<uint16_t>& a,
                      const Matrix<uint16_t>& b, const Matrix<uint16_t>& y) {
  for_each_tile(tiles, sizes, a, b,
                [&](const ProductSizes& own, const TileRows& rows, const uint16_t* panel, int64_t i, int64_t j) {
                  tiles.multiply_rounded(own, rows, panel, y.data + i * y.step + j, y.step);
                });
}

float widened(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

/** Whether a small product of whole numbers, which every order of sums gives exactly, is what plain loops give. */
bool are_right(const Bfloat16Tiles& tiles, bool is_a_transposed, bool is_b_transposed) {
  constexpr ProductSizes sizes{19, 70, 35};
  const auto& [m, n, k] = sizes;
  // −1, 0 and 1 in bfloat16.
  constexpr uint16_t kNumbers[] = {0xbf80, 0, 0x3f80};
  const auto numbers = [&](int64_t count, uint32_t seed) {
    std::vector<uint16_t> all(count);
    for (int64_t i = 0; i < count; i++) all[i] = kNumbers[(static_cast<uint32_t>(i) + seed) * 2654435761u % 65521 % 3];
    return all;
  };
  auto left = numbers(m * k, 1), right = numbers(k * n, 2);
  const Matrix<uint16_t> a{left.data(), is_a_transposed, is_a_transposed ? m : k};
  const Matrix<uint16_t> b{right.data(), is_b_transposed, is_b_transposed ? k : n};
  std::vector<float> sums(m * n, 1.0f);
  std::vector<uint16_t> rounded(m * n);
  multiply(tiles, sizes, true, a, b, {sums.data(), false, n});
  multiply_rounded(tiles, sizes, a, b, {rounded.data(), false, n});
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      float sum = 0;
      for (int64_t p = 0; p < k; p++)
        sum += widened(*a.from_row(i).from_column(p).data) * widened(*b.from_row(p).from_column(j).data);
      if (sums[i * n + j] != sum + 1 || widened(rounded[i * n + j]) != sum) return false;
    }
  return true;
}

TilesState examine() {
  const Bfloat16Tiles* const tiles = bfloat16_tiles();
  const auto amx = static_cast<int>(dnnl::cpu_isa::avx512_core_amx);
  if (!tiles || (static_cast<int>(dnnl::get_effective_cpu_isa()) & amx) == amx) return TilesState::Absent;
  for (const bool a : {false, true})
    for (const bool b : {false, true})
      if (!are_right(*tiles, a, b)) return TilesState::Differ;
  return TilesState::Serve;
}

}  // namespace

TilesState tiles_state() {
  static const TilesState state = examine();
  return state;
}

bool multiply_by_tiles(const ProductSizes& sizes, bool adds, const Matrix<uint16_t>& a, const Matrix<uint16_t>& b,
                       const Matrix<float>& y) {
  if (tiles_state() != TilesState::Serve) return false;
  multiply(*bfloat16_tiles(), sizes, adds, a, b, y);
  return true;
}

bool multiply_by_tiles(const ProductSizes& sizes, const Matrix<uint16_t>& a, const Matrix<uint16_t>& b,
                       const Matrix<uint16_t>& y) {
  if (tiles_state() != TilesState::Serve) return false;
  multiply_rounded(*bfloat16_tiles(), sizes, a, b, y);
  return true;
}

}  // namespace frostbit
