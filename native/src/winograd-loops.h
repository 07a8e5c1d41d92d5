// The loops behind winograd.h, and behind weight-gradient.h by the same algorithm, for AVX-512; the rule at the top of
// kernels.cpp holds here too. What is multiplied is a Format:
//   Element: of images.
//   kTerms: neighbouring terms of a sum that are multiplied at once, 4 bytes in all.
//   load(from), store(to, values): 16 elements.
//   joined(values): the terms of 16 lanes, each lane's side by side.
//   multiply_add(sums, left, right): lane by lane, all terms.
//
// Of each tile there are 16 transformed values per channel. A block of tiles is transformed into 16 planes [tile][channel], and
// each plane is multiplied as a matrix: for a convolution by a plane of transformed weights, for the weight gradient by a plane
// of transformed x, summed over tiles. The transforms (matrices B and G, A of the paper) are
//   inputs:  d0 − d2, d1 + d2, d2 − d1, d1 − d3, down the rows and along the columns;
//   weights: g0, (g0 + g1 + g2) / 2, (g0 − g1 + g2) / 2, g2, and of two of them: g0, (g0 + g1) / 2, (g0 − g1) / 2, g1;
//   results: m0 + m1 + m2, m1 − m2 − m3, and of three: m0 + m1 + m2, m1 − m2, m1 + m2 − m3.
#pragma once
#include "avx512.h"
#include "weight-gradient.h"
#include "winograd.h"

namespace frostbit {
namespace {

/** Transformed values of a tile: four rows of four. */
constexpr int64_t kSide = 4, kPlanes = kSide * kSide;
/** Vectors of a tile of sums in registers at most, and of its width. */
constexpr int64_t kTileVectors = 16, kTileB = 2;
/** Of a block's planes, and its tiles. */
constexpr int64_t kBlockBytes = 256 * 1024, kMinTiles = 16, kMaxTiles = 64;

/** The i-th of so many parts of `size` things that are as even as they can be. */
int64_t part_begin(int64_t size, int64_t parts, int64_t i) { return size * i / parts; }

bool serves(const PlaneConvolution& shape) {
  for (int axis = 0; axis < 2; axis++)
    if (shape.kernel[axis] != 3 || shape.strides[axis] != 1 || shape.dilations[axis] != 1) return false;
  return shape.inputs > 0 && shape.outputs > 0 && shape.inputs % kLanes == 0 && shape.outputs % kLanes == 0;
}

/** Images whose tiles are transformed. */
struct Images : Planes {
  int64_t offset(int64_t image, int64_t row) const { return (image * size[0] + row) * size[1] * channels; }
  bool has_row(int64_t row) const { return row >= 0 && row < size[0]; }
  bool has_column(int64_t column) const { return column >= 0 && column < size[1]; }
};

/** Terms that are multiplied at once. */
using Terms = uint32_t;

/** Tiles of 2 × 2 pixels that cover images, in each row a multiple of `unit`. */
struct Grid {
  int64_t rows, columns;

  Grid(const int64_t (&size)[2], int64_t unit) : rows(ceiling(size[0], 2)), columns(ceiling(size[1], 2 * unit) * unit) {}
};

/** Rows of tiles in a block whose tiles take so many values of 4 bytes in each plane. */
int64_t block_rows(const Grid& grid, int64_t values) {
  const int64_t fitting = kBlockBytes / (kPlanes * values * 4);
  return max_of(1, min_of(kMaxTiles, max_of(kMinTiles, fitting)) / grid.columns);
}

/** Values from a plane to the next: an odd number of cache lines, so that a tile's values do not share a set. */
int64_t plane_stride(int64_t values) { return (ceiling(values, kLanes) | 1) * kLanes; }

// --------------------------------------------------------------------------------------------------------- transforms

template <class Format>
struct Elements {
  const typename Format::Element* data;

  __m512 load(int64_t at) const { return Format::load(data + at); }
};

struct Codes {
  const uint8_t* data;
  __m512i zero;

  __m512 load(int64_t at) const {
    const __m512i code = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data + at)));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(code, zero));
  }
};

struct Column {
  __m512 rows[kSide];
};

/** Four rows of images around a tile, and 16 of their channels. */
template <class Source>
struct Window {
  const Source& source;
  const Images& images;
  /** Where the rows begin; −1 where there is none. */
  int64_t rows[kSide];

  __m512 pixel(int row, int64_t column) const {
    return rows[row] < 0 ? _mm512_setzero_ps() : source.load(rows[row] + column * images.channels);
  }

  Column column(int64_t at) const {
    if (!images.has_column(at)) return {{_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()}};
    const __m512 d0 = pixel(0, at), d1 = pixel(1, at), d2 = pixel(2, at), d3 = pixel(3, at);
    return {{_mm512_sub_ps(d0, d2), _mm512_add_ps(d1, d2), _mm512_sub_ps(d2, d1), _mm512_sub_ps(d1, d3)}};
  }
};

/**
 * The tiles of one row whose first pixel is the image's at (top, left): calls `put(plane, tile, channel, values)` with 16
 * channels of so many tiles from `tile` on.
 */
template <int tiles_at_once, class Source, class Put>
void place_inputs(const Source& source, const Images& images, int64_t image, int64_t top, int64_t left, int64_t tiles,
                  Put put) {
  constexpr int kColumns = 2 * tiles_at_once;
  for (int64_t channel = 0; channel < images.channels; channel += kLanes) {
    Window<Source> window{source, images, {}};
    for (int row = 0; row < kSide; row++)
      window.rows[row] = images.has_row(top + row) ? images.offset(image, top + row) + channel : -1;
    Column columns[kColumns + 2] = {window.column(left), window.column(left + 1)};
    for (int64_t tile = 0; tile < tiles; tile += tiles_at_once) {
#pragma GCC unroll 4
      for (int i = 0; i < kColumns; i++) columns[i + 2] = window.column(left + 2 * tile + i + 2);
#pragma GCC unroll 4
      for (int row = 0; row < kSide; row++) {
        __m512 values[kSide][tiles_at_once];
#pragma GCC unroll 2
        for (int i = 0; i < tiles_at_once; i++) {
          const __m512 d0 = columns[2 * i].rows[row], d1 = columns[2 * i + 1].rows[row];
          const __m512 d2 = columns[2 * i + 2].rows[row], d3 = columns[2 * i + 3].rows[row];
          values[0][i] = _mm512_sub_ps(d0, d2), values[1][i] = _mm512_add_ps(d1, d2);
          values[2][i] = _mm512_sub_ps(d2, d1), values[3][i] = _mm512_sub_ps(d1, d3);
        }
#pragma GCC unroll 4
        for (int column = 0; column < kSide; column++) put(row * kSide + column, tile, channel, values[column]);
      }
      columns[0] = columns[kColumns], columns[1] = columns[kColumns + 1];
    }
  }
}

/** Tiles' results [row][column] of 16 channels, from their planes. */
inline void results_of(const float* from, int64_t stride, __m512 (&results)[2][2]) {
  __m512 rows[2][kSide];
#pragma GCC unroll 4
  for (int column = 0; column < kSide; column++) {
    const auto plane = [&](int row) { return _mm512_load_ps(from + (row * kSide + column) * stride); };
    const __m512 m0 = plane(0), m1 = plane(1), m2 = plane(2), m3 = plane(3);
    rows[0][column] = _mm512_add_ps(m0, _mm512_add_ps(m1, m2));
    rows[1][column] = _mm512_sub_ps(_mm512_sub_ps(m1, m2), m3);
  }
#pragma GCC unroll 2
  for (int row = 0; row < 2; row++) {
    const __m512* m = rows[row];
    results[row][0] = _mm512_add_ps(m[0], _mm512_add_ps(m[1], m[2]));
    results[row][1] = _mm512_sub_ps(_mm512_sub_ps(m[1], m[2]), m[3]);
  }
}

/** One row of tiles into the image's pixels that they cover. */
template <class Format>
void give_results(const float* from, int64_t stride, const Images& images, int64_t image, int64_t tile_row, int64_t tiles,
                  const float* bias, typename Format::Element* y) {
  for (int64_t tile = 0; tile < tiles; tile++)
    for (int64_t channel = 0; channel < images.channels; channel += kLanes) {
      __m512 results[2][2];
      results_of(from + tile * images.channels + channel, stride, results);
      if (bias)
        for (auto& row : results)
          for (__m512& result : row) result = _mm512_add_ps(result, _mm512_loadu_ps(bias + channel));
      for (int row = 0; row < 2; row++) {
        if (!images.has_row(2 * tile_row + row)) break;
        auto* place = y + images.offset(image, 2 * tile_row + row) + 2 * tile * images.channels + channel;
        Format::store(place, results[row][0]);
        if (images.has_column(2 * tile + 1)) Format::store(place + images.channels, results[row][1]);
      }
    }
}

// -------------------------------------------------------------------------------------------------------- convolution

/** Transformed weights are [plane][panel of y's channels][terms: channels of x][channel of y in the panel][term]. */
template <class Format>
int64_t filter_plane(const TiledConvolution& shape) {
  return shape.x.channels / Format::kTerms * shape.y.channels;
}

template <class Format>
int64_t filter_bytes(const TiledConvolution& shape) {
  return kPlanes * filter_plane<Format>(shape) * static_cast<int64_t>(sizeof(Terms));
}

inline void weights_of_three(__m512 g0, __m512 g1, __m512 g2, __m512 (&to)[kSide]) {
  const __m512 half = _mm512_set1_ps(0.5f), ends = _mm512_add_ps(g0, g2);
  to[0] = g0;
  to[1] = _mm512_mul_ps(half, _mm512_add_ps(ends, g1));
  to[2] = _mm512_mul_ps(half, _mm512_sub_ps(ends, g1));
  to[3] = g2;
}

/** One input channel's nine taps for 16 output channels, their rows transformed. */
struct Taps {
  __m512 rows[3][kSide];
};

Taps taps_of(const TiledWeights& w, const float* from) {
  const __m512i lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), step = _mm512_set1_epi64(w.y_step);
  const __m512i low = _mm512_mullox_epi64(lanes, step), high = _mm512_add_epi64(low, _mm512_set1_epi64(8 * w.y_step));
  Taps taps;
  for (int row = 0; row < 3; row++) {
    const auto tap = [&](int column) {
      const int at = row * 3 + column;
      const float* place = from + (w.reversed ? 8 - at : at);
      return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_i64gather_ps(low, place, 4)), _mm512_i64gather_ps(high, place, 4),
                                1);
    };
    weights_of_three(tap(0), tap(1), tap(2), taps.rows[row]);
  }
  return taps;
}

template <class Format>
void transform(const TiledConvolution& shape, const TiledWeights& w, int64_t first, int64_t last, void* filter) {
  constexpr int kTerms = Format::kTerms;
  const int64_t terms = shape.x.channels / kTerms, outputs = shape.y.channels, panel = kTileB * kLanes;
  for (int64_t input = first; input < last; input += kTerms)
    for (int64_t output = 0; output < outputs; output += kLanes) {
      Taps taps[kTerms];
      for (int i = 0; i < kTerms; i++) taps[i] = taps_of(w, w.data + output * w.y_step + (input + i) * w.x_step);
      const int64_t begin = output / panel * panel, width = min_of(panel, outputs - begin);
      Terms* place = static_cast<Terms*>(filter) + begin * terms + input / kTerms * width + output - begin;
      for (int column = 0; column < kSide; column++) {
        __m512 values[kSide][kTerms];
        for (int i = 0; i < kTerms; i++) {
          __m512 down[kSide];
          weights_of_three(taps[i].rows[0][column], taps[i].rows[1][column], taps[i].rows[2][column], down);
          for (int row = 0; row < kSide; row++) values[row][i] = down[row];
        }
        for (int row = 0; row < kSide; row++)
          _mm512_storeu_si512(place + (row * kSide + column) * filter_plane<Format>(shape), Format::joined(values[row]));
      }
    }
}

inline __m512i broadcast(const Terms* terms) { return _mm512_set1_epi32(static_cast<int>(*terms)); }

/** y[row][lane] = Σ a[row][k] · b[k][lane] */
template <class Format, int rows, int columns>
void multiply(const Terms* a, int64_t a_step, const Terms* b, int64_t count, float* y, int64_t y_step) {
  __m512 sums[rows][columns];
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < columns; j++) sums[i][j] = _mm512_setzero_ps();
  for (int64_t k = 0; k < count; k++, b += columns * kLanes) {
    __m512i right[columns];
#pragma GCC unroll 2
    for (int j = 0; j < columns; j++) right[j] = _mm512_loadu_si512(b + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
      const __m512i left = broadcast(a + i * a_step + k);
#pragma GCC unroll 2
      for (int j = 0; j < columns; j++) sums[i][j] = Format::multiply_add(sums[i][j], left, right[j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < columns; j++) _mm512_store_ps(y + i * y_step + j * kLanes, sums[i][j]);
}

using Multiply = void (*)(const Terms*, int64_t, const Terms*, int64_t, float*, int64_t);

#define FROSTBIT_EIGHT(kernel, columns)                                                                           \
  kernel<Format, 1, columns>, kernel<Format, 2, columns>, kernel<Format, 3, columns>, kernel<Format, 4, columns>, \
      kernel<Format, 5, columns>, kernel<Format, 6, columns>, kernel<Format, 7, columns>, kernel<Format, 8, columns>
#define FROSTBIT_TILES(kernel)                                                                                              \
  {                                                                                                                         \
    {FROSTBIT_EIGHT(kernel, 1), kernel<Format, 9, 1>,  kernel<Format, 10, 1>, kernel<Format, 11, 1>, kernel<Format, 12, 1>, \
     kernel<Format, 13, 1>,     kernel<Format, 14, 1>, kernel<Format, 15, 1>, kernel<Format, 16, 1>},                       \
    {                                                                                                                       \
      FROSTBIT_EIGHT(kernel, 2)                                                                                             \
    }                                                                                                                       \
  }
template <class Format>
constexpr Multiply kMultiply[kTileB][kTileVectors] = FROSTBIT_TILES(multiply);

template <class Format>
void multiply_plane(const TiledConvolution& shape, const Terms* a, const Terms* filter, int64_t tiles, float* y) {
  const int64_t inputs = shape.x.channels / Format::kTerms, outputs = shape.y.channels;
  for (int64_t output = 0; output < outputs; output += kTileB * kLanes) {
    const int64_t columns = min_of(kTileB, (outputs - output) / kLanes);
    const int64_t parts = ceiling(tiles, kTileVectors / columns);
    for (int64_t i = 0; i < parts; i++) {
      const int64_t tile = part_begin(tiles, parts, i), rows = part_begin(tiles, parts, i + 1) - tile;
      kMultiply<Format>[columns - 1][rows - 1](a + tile * inputs, inputs, filter + output * inputs, inputs,
                                               y + tile * outputs + output, outputs);
    }
  }
}

/** Images are transformed into [plane][tile][channel]. */
template <class Format>
struct ConvolutionLayout {
  Grid grid;
  int64_t inputs, rows, a_stride, y_stride;

  ConvolutionLayout(const TiledConvolution& shape, int64_t images) : grid(shape.y.size, 1) {
    inputs = shape.x.channels / Format::kTerms;
    rows = min_of(images * grid.rows, block_rows(grid, inputs + shape.y.channels));
    a_stride = plane_stride(rows * grid.columns * inputs);
    y_stride = plane_stride(rows * grid.columns * shape.y.channels);
  }
  int64_t a_bytes() const { return aligned(kPlanes * a_stride * 4); }
  int64_t bytes() const { return a_bytes() + aligned(kPlanes * y_stride * 4); }
};

template <class Format>
int64_t convolution_bytes(const TiledConvolution& shape, int64_t images) {
  return ConvolutionLayout<Format>(shape, images).bytes();
}

template <class Format>
void convolve(const TiledConvolution& shape, int64_t images, const typename Format::Element* x, const void* filter,
              const float* bias, typename Format::Element* y, char* scratch) {
  using Element = typename Format::Element;
  const ConvolutionLayout<Format> layout(shape, images);
  const Grid& grid = layout.grid;
  const Images from{shape.x}, to{shape.y};
  auto* a = reinterpret_cast<Terms*>(scratch);
  auto* sums = reinterpret_cast<float*>(scratch + layout.a_bytes());
  for (int64_t first = 0; first < images * grid.rows; first += layout.rows) {
    const int64_t rows = min_of(layout.rows, images * grid.rows - first);
    for (int64_t i = 0; i < rows; i++)
      place_inputs<1>(Elements<Format>{x}, from, (first + i) / grid.rows, (first + i) % grid.rows * 2 - shape.begin[0],
                      -shape.begin[1], grid.columns, [&](int plane, int64_t tile, int64_t channel, const __m512(&values)[1]) {
                        Terms* place = a + plane * layout.a_stride + (i * grid.columns + tile) * layout.inputs;
                        Format::store(reinterpret_cast<Element*>(place) + channel, values[0]);
                      });
    for (int64_t plane = 0; plane < kPlanes; plane++)
      multiply_plane<Format>(shape, a + plane * layout.a_stride,
                             static_cast<const Terms*>(filter) + plane * filter_plane<Format>(shape), rows * grid.columns,
                             sums + plane * layout.y_stride);
    for (int64_t i = 0; i < rows; i++)
      give_results<Format>(sums + i * grid.columns * to.channels, layout.y_stride, to, (first + i) / grid.rows,
                           (first + i) % grid.rows, grid.columns, bias, y);
  }
}

// ---------------------------------------------------------------------------------------------------- weight gradient

/** Neighbouring rows of the result that come from one block of 16 output channels. */
struct Run {
  int64_t first, count, channel;
  __m512i lanes;
};

int64_t list_runs(const int64_t* rows, int64_t count, Run* runs) {
  int64_t total = 0;
  for (int64_t first = 0, end; first < count; first = end) {
    const auto channel = [&](int64_t i) { return rows ? rows[i] : i; };
    const int64_t block = channel(first) / kLanes;
    alignas(64) int32_t lanes[kLanes] = {};
    for (end = first; end < count && end - first < kLanes && channel(end) / kLanes == block; end++)
      lanes[end - first] = static_cast<int32_t>(channel(end) % kLanes);
    runs[total++] = {first, end - first, block * kLanes, _mm512_load_si512(lanes)};
  }
  return total;
}

inline void weights_of_two(__m512 g0, __m512 g1, __m512 (&to)[kSide]) {
  // Halved when all is summed up.
  to[0] = g0, to[1] = _mm512_add_ps(g0, g1), to[2] = _mm512_sub_ps(g0, g1), to[3] = g1;
}

/** One row of tiles of dy; `to` is [plane][tiles: terms][row of the result][term]. */
template <class Format>
void place_gradient(const typename Format::Element* dy, const Images& images, int64_t image, int64_t tile_row, int64_t tiles,
                    const Run& run, int64_t pitch, int64_t stride, Terms* to) {
  constexpr int kTerms = Format::kTerms;
  const bool has_next = images.has_row(2 * tile_row + 1);
  const auto* top = dy + images.offset(image, 2 * tile_row) + run.channel;
  const auto* bottom = top + images.size[1] * images.channels;
  const __mmask16 mask = static_cast<__mmask16>((1u << run.count) - 1);
  for (int64_t tile = 0; tile < tiles; tile += kTerms) {
    __m512 columns[2 * kTerms][kSide];
#pragma GCC unroll 4
    for (int64_t i = 0; i < 2 * kTerms; i++) {
      const int64_t at = (2 * tile + i) * images.channels;
      const bool is_there = images.has_column(2 * tile + i);
      weights_of_two(is_there ? Format::load(top + at) : _mm512_setzero_ps(),
                     is_there && has_next ? Format::load(bottom + at) : _mm512_setzero_ps(), columns[i]);
    }
    Terms* place = to + tile / kTerms * pitch + run.first;
#pragma GCC unroll 4
    for (int row = 0; row < kSide; row++) {
      __m512 values[kSide][kTerms];
#pragma GCC unroll 2
      for (int i = 0; i < kTerms; i++) {
        __m512 across[kSide];
        weights_of_two(columns[2 * i][row], columns[2 * i + 1][row], across);
#pragma GCC unroll 4
        for (int column = 0; column < kSide; column++) values[column][i] = across[column];
      }
#pragma GCC unroll 4
      for (int column = 0; column < kSide; column++, place += stride)
        _mm512_mask_storeu_epi32(place, mask, _mm512_permutexvar_epi32(run.lanes, Format::joined(values[column])));
    }
  }
}

/** sums[row][lane] += Σ a[k][row] · b[k][lane] */
template <class Format, int rows, int columns>
void accumulate(const Terms* a, int64_t a_step, const Terms* b, int64_t b_step, int64_t count, float* y, int64_t y_step) {
  __m512 sums[rows][columns];
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < columns; j++) sums[i][j] = _mm512_setzero_ps();
  for (int64_t k = 0; k < count; k++, a += a_step, b += b_step) {
    __m512i right[columns];
#pragma GCC unroll 2
    for (int j = 0; j < columns; j++) right[j] = _mm512_load_si512(b + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
      const __m512i left = broadcast(a + i);
#pragma GCC unroll 2
      for (int j = 0; j < columns; j++) sums[i][j] = Format::multiply_add(sums[i][j], left, right[j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < columns; j++) {
      float* place = y + i * y_step + j * kLanes;
      _mm512_store_ps(place, _mm512_add_ps(_mm512_load_ps(place), sums[i][j]));
    }
}

using Accumulate = void (*)(const Terms*, int64_t, const Terms*, int64_t, int64_t, float*, int64_t);
template <class Format>
constexpr Accumulate kAccumulate[kTileB][kTileVectors] = FROSTBIT_TILES(accumulate);

/** Sums are [plane][row][input channel]. */
int64_t sums_elements(const PlaneConvolution& shape, int64_t rows) { return kPlanes * rows * shape.inputs; }

template <class Format>
struct WeightGradientLayout {
  static constexpr int64_t kTerms = Format::kTerms;
  Grid grid;
  int64_t rows, pitch, a_stride, b_stride, runs;

  WeightGradientLayout(const PlaneConvolution& shape, int64_t images, int64_t count) : grid(shape.out, kTerms) {
    pitch = ceiling(count, kLanes) * kLanes;
    rows = min_of(images * grid.rows, block_rows(grid, (shape.inputs + pitch) / kTerms));
    a_stride = plane_stride(rows * grid.columns / kTerms * pitch);
    b_stride = plane_stride(rows * grid.columns / kTerms * shape.inputs);
    runs = count;
  }
  int64_t a_bytes() const { return aligned(kPlanes * a_stride * 4); }
  int64_t b_bytes() const { return aligned(kPlanes * b_stride * 4); }
  int64_t bytes() const { return a_bytes() + b_bytes() + aligned(runs * static_cast<int64_t>(sizeof(Run))); }
};

template <class Format>
int64_t weight_gradient_bytes(const PlaneConvolution& shape, int64_t images, int64_t max_rows) {
  // Fewer rows make larger blocks, so that fewer rows may want more.
  int64_t bytes = 0;
  for (int64_t rows = 1; rows <= max_rows; rows++)
    bytes = max_of(bytes, WeightGradientLayout<Format>(shape, images, rows).bytes());
  return bytes;
}

template <class Format>
void accumulate_plane(const PlaneConvolution& shape, const Terms* a, int64_t pitch, const Terms* b, int64_t count,
                      int64_t terms, float* sums) {
  for (int64_t input = 0; input < shape.inputs; input += kTileB * kLanes) {
    const int64_t columns = min_of(kTileB, (shape.inputs - input) / kLanes);
    const int64_t parts = ceiling(count, kTileVectors / columns);
    for (int64_t i = 0; i < parts; i++) {
      const int64_t row = part_begin(count, parts, i), rows = part_begin(count, parts, i + 1) - row;
      kAccumulate<Format>[columns - 1][rows - 1](a + row, pitch, b + input, shape.inputs, terms,
                                                 sums + row * shape.inputs + input, shape.inputs);
    }
  }
}

template <class Format>
void add_up(const PlaneConvolution& shape, int64_t images, const WeightGradientInput<typename Format::Element>& x,
            const typename Format::Element* dy, const int64_t* rows, int64_t count, float* sums, char* scratch) {
  constexpr int kTerms = Format::kTerms;
  if (count == 0) return;
  const WeightGradientLayout<Format> layout(shape, images, count);
  const Grid& grid = layout.grid;
  const TiledConvolution forward = forward_of(shape);
  const Images of_x{forward.x}, of_dy{forward.y};
  auto* a = reinterpret_cast<Terms*>(scratch);
  auto* b = reinterpret_cast<Terms*>(scratch += layout.a_bytes());
  auto* runs = reinterpret_cast<Run*>(scratch += layout.b_bytes());
  const int64_t run_count = list_runs(rows, count, runs);
  for (int64_t first = 0; first < images * grid.rows; first += layout.rows) {
    const int64_t block = min_of(layout.rows, images * grid.rows - first);
    for (int64_t i = 0; i < block; i++) {
      const int64_t image = (first + i) / grid.rows, row = (first + i) % grid.rows, begin = i * grid.columns / kTerms;
      for (int64_t run = 0; run < run_count; run++)
        place_gradient<Format>(dy, of_dy, image, row, grid.columns, runs[run], layout.pitch, layout.a_stride,
                               a + begin * layout.pitch);
      const auto place = [&](const auto& source) {
        place_inputs<kTerms>(source, of_x, image, 2 * row - shape.begin[0], -shape.begin[1], grid.columns,
                             [&](int plane, int64_t tile, int64_t channel, const __m512(&values)[kTerms]) {
                               Terms* to = b + plane * layout.b_stride + (begin + tile / kTerms) * shape.inputs + channel;
                               _mm512_store_si512(to, Format::joined(values));
                             });
      };
      if (x.codes)
        place(Codes{x.codes, _mm512_set1_epi32(x.zero)});
      else
        place(Elements<Format>{x.values});
    }
    for (int64_t plane = 0; plane < kPlanes; plane++)
      accumulate_plane<Format>(shape, a + plane * layout.a_stride, layout.pitch, b + plane * layout.b_stride, count,
                               block * grid.columns / kTerms, sums + plane * count * shape.inputs);
  }
}

inline void results_of_three(const __m512 (&m)[kSide], __m512 (&to)[3]) {
  const __m512 half = _mm512_set1_ps(0.5f), both = _mm512_mul_ps(half, _mm512_add_ps(m[1], m[2]));
  to[0] = _mm512_add_ps(m[0], both);
  to[1] = _mm512_mul_ps(half, _mm512_sub_ps(m[1], m[2]));
  to[2] = _mm512_sub_ps(both, m[3]);
}

void give(const PlaneConvolution& shape, int64_t count, const float* sums, int64_t parts, int64_t stride, float factor,
          int64_t first, int64_t last, float* dw) {
  const int64_t inputs = shape.inputs;
  for (int64_t row = first; row < last; row++)
    for (int64_t input = 0; input < inputs; input += kLanes) {
      __m512 rows[kSide][3];
      for (int i = 0; i < kSide; i++) {
        __m512 totals[kSide];
        for (int j = 0; j < kSide; j++) {
          const float* from = sums + ((i * kSide + j) * count + row) * inputs + input;
          totals[j] = _mm512_load_ps(from);
          for (int64_t part = 1; part < parts; part++)
            totals[j] = _mm512_add_ps(totals[j], _mm512_load_ps(from + part * stride));
        }
        results_of_three(totals, rows[i]);
      }
      alignas(64) float taps[9][kLanes];
      for (int column = 0; column < 3; column++) {
        const __m512 down[kSide] = {rows[0][column], rows[1][column], rows[2][column], rows[3][column]};
        __m512 results[3];
        results_of_three(down, results);
        for (int i = 0; i < 3; i++) _mm512_store_ps(taps[i * 3 + column], _mm512_mul_ps(results[i], _mm512_set1_ps(factor)));
      }
      float* place = dw + (row * inputs + input) * 9;
      for (int64_t lane = 0; lane < kLanes; lane++)
        for (int tap = 0; tap < 9; tap++) place[lane * 9 + tap] = taps[tap][lane];
    }
}

}  // namespace
}  // namespace frostbit
