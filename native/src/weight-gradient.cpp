// The loops behind weight-gradient.h, compiled for AVX-512-BF16; the rule at the top of kernels.cpp holds here too.
//
// A product of matrices whose sums run over pixels, two at a time:
//   a: channels of dy, each a plane [image][output row][column] with zeros left and right, so that every kernel column is an
//      offset; two neighbouring columns are broadcast to all lanes.
//   b: pairs of columns of x [image][row][block][pair][16 lanes][2], with rows of zeros above and below. Columns beyond x's
//      edges are not there at all: what would meet them in dy is skipped. With a stride, only the columns of one phase.
// Lanes are input channels; where there are few of them, all kernel rows' channels (b's rows are output rows then).
// The images are worked through in strips whose planes stay in the second cache.
#include "weight-gradient.h"

#if defined(__x86_64__)
#include "avx512.h"

namespace frostbit {
namespace {

/** Rows and columns of the tile of sums in registers. */
constexpr int64_t kTileA = 8, kTileB = 3;
/** Of a strip's planes. */
constexpr int64_t kStripBytes = 160 * 1024;
/** Pairs of pixels that are summed up in registers at most. */
constexpr int64_t kBlockPairs = 512;
/** Channels of a block of 16 from which on it is transposed as a whole. */
constexpr int64_t kWorthTransposing = 4;

int64_t remainder_of(int64_t a, int64_t b) { return ((a % b) + b) % b; }

/** Where one segment of a row of columns begins: in a, elements; in b, elements. */
struct Segment {
  int64_t a, b;
};

/** A column of the kernel, and how far from the channels' planes its tap begins. */
struct KernelColumn {
  int64_t kw, offset;
};

struct Layout {
  /** Whether lanes are (kernel row, input channel). */
  bool is_packed;
  /** Lanes in use, blocks of 16 of them, kernel rows that are not lanes, and both together: columns of the product. */
  int64_t lanes, blocks, taps, columns;
  /** b's rows per output row, and between kernel rows. */
  int64_t row_step, tap_step;
  /** Pairs per segment, segments per row. */
  int64_t pairs, segments;
  /** Zeros before dy's columns; columns of a plane of dy. */
  int64_t left, pitch;
  /** Of a strip. */
  int64_t images, out_rows, in_rows;
  /** Elements from a channel's plane to the next one's, and from a row of b to the next one. */
  int64_t a_stride, b_stride;
  int64_t a_bytes, b_bytes, staging_bytes, segment_bytes, kernel_bytes, order_bytes;

  int64_t bytes() const { return a_bytes + b_bytes + staging_bytes + segment_bytes + kernel_bytes + order_bytes; }
};

/** x's column of kernel column kw for output column 0. */
int64_t column_of(const PlaneConvolution& shape, int64_t kw) { return kw * shape.dilations[1] - shape.begin[1]; }
int64_t phase_of(const PlaneConvolution& shape, int64_t kw) { return remainder_of(column_of(shape, kw), shape.strides[1]); }
/** Columns of a phase by which x runs ahead of dy. */
int64_t shift_of(const PlaneConvolution& shape, int64_t kw) {
  return (column_of(shape, kw) - phase_of(shape, kw)) / shape.strides[1];
}

int64_t b_rows(const Layout& layout, int64_t out_rows) {
  return (out_rows - 1) * layout.row_step + (layout.taps - 1) * layout.tap_step + 1;
}

void choose_strip(const PlaneConvolution& shape, int64_t images, int64_t rows, Layout* layout) {
  const auto bytes_of = [&](int64_t out_rows) {
    return 2 * rows * out_rows * layout->pitch + 2 * b_rows(*layout, out_rows) * layout->b_stride;
  };
  layout->out_rows = shape.out[0];
  while (layout->out_rows > 1 && bytes_of(layout->out_rows) > kStripBytes) layout->out_rows = ceiling(layout->out_rows, 2);
  layout->images = 1;
  if (layout->out_rows == shape.out[0]) {
    const int64_t fitting = max_of(1, kStripBytes / max_of(1, bytes_of(shape.out[0])));
    layout->images = max_of(1, min_of(images, fitting));
  }
  layout->in_rows = b_rows(*layout, layout->out_rows);
}

Layout layout_of(const PlaneConvolution& shape, int64_t images, int64_t rows) {
  Layout layout;
  layout.is_packed = shape.inputs < kLanes && ceiling(shape.inputs * shape.kernel[0], kLanes) < shape.kernel[0];
  layout.lanes = layout.is_packed ? shape.inputs * shape.kernel[0] : shape.inputs;
  layout.taps = layout.is_packed ? 1 : shape.kernel[0];
  layout.blocks = ceiling(layout.lanes, kLanes);
  layout.columns = layout.blocks * layout.taps;
  layout.row_step = layout.is_packed ? 1 : shape.strides[0];
  layout.tap_step = layout.is_packed ? 1 : shape.dilations[0];
  const int64_t all_pairs = ceiling(ceiling(shape.in[1], shape.strides[1]), 2);
  layout.segments = max_of(1, ceiling(all_pairs, kBlockPairs));
  layout.pairs = ceiling(all_pairs, layout.segments);
  int64_t low = 0, high = 0;
  for (int64_t kw = 0; kw < shape.kernel[1]; kw++) {
    low = min_of(low, shift_of(shape, kw));
    high = max_of(high, shift_of(shape, kw));
  }
  layout.left = high;
  layout.pitch = high + max_of(shape.out[1], 2 * layout.pairs * layout.segments - low);
  layout.b_stride = layout.blocks * layout.segments * layout.pairs * 2 * kLanes;
  choose_strip(shape, images, rows, &layout);
  // An odd number of cache lines, so that the channels of a tile do not share a set.
  layout.a_stride = (ceiling(layout.images * layout.out_rows * layout.pitch, 32) | 1) * 32;
  layout.a_bytes = aligned(2 * (rows * layout.a_stride + 32));
  layout.b_bytes = aligned(2 * layout.images * layout.in_rows * layout.b_stride);
  layout.staging_bytes = layout.is_packed ? aligned(2 * shape.in[1] * (layout.lanes + kLanes) + 64) : 0;
  layout.segment_bytes = aligned(layout.images * layout.out_rows * layout.segments * static_cast<int64_t>(sizeof(Segment)));
  layout.kernel_bytes = aligned(shape.kernel[1] * static_cast<int64_t>(sizeof(KernelColumn)));
  layout.order_bytes = aligned((rows + ceiling(shape.outputs, kLanes) + 1) * static_cast<int64_t>(sizeof(int64_t)));
  return layout;
}

int64_t scratch_bytes(const PlaneConvolution& shape, int64_t images, int64_t max_rows) {
  // Fewer rows make longer strips, so that fewer rows may want more.
  int64_t bytes = 0;
  for (int64_t rows = 1; rows <= max_rows; rows++) bytes = max_of(bytes, layout_of(shape, images, rows).bytes());
  return bytes;
}

int64_t sums_elements(const PlaneConvolution& shape, int64_t rows) {
  return layout_of(shape, 1, rows).columns * rows * shape.kernel[1] * kLanes;
}

/** Where the sums of a column of the product, a row and a kernel column lie: [column][row][kernel column][16]. */
int64_t sums_at(const PlaneConvolution& shape, int64_t count, int64_t column, int64_t row, int64_t kw) {
  return ((column * count + row) * shape.kernel[1] + kw) * kLanes;
}

// ---------------------------------------------------------------------------------------------------------------- dy

/** 32 pixels' 16 channels, two pixels to a register, into 16 channels' 32 pixels. */
inline void transpose_pairs(const __m512i* in, __m512i* out) {
  alignas(64) static const uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                  8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i order = _mm512_load_si512(kOrder);
  __m512i rows[16];
  for (int i = 0; i < 16; i++) rows[i] = _mm512_permutexvar_epi16(order, in[i]);
  transpose(rows, out);
}

/** Which rows come from which block of 16 output channels: rows in the order of their blocks, and where each block's begin. */
struct Order {
  int64_t* rows;
  int64_t* begins;
};

int64_t channel_of(const int64_t* rows, int64_t r) { return rows ? rows[r] : r; }

Order order_rows(const PlaneConvolution& shape, const int64_t* rows, int64_t count, char* memory) {
  const int64_t blocks = ceiling(shape.outputs, kLanes);
  const Order order{reinterpret_cast<int64_t*>(memory), reinterpret_cast<int64_t*>(memory) + count};
  memset(order.begins, 0, static_cast<size_t>(blocks + 1) * sizeof(int64_t));
  for (int64_t r = 0; r < count; r++) order.begins[channel_of(rows, r) / kLanes]++;
  int64_t end = 0;
  for (int64_t block = 0; block <= blocks; block++) order.begins[block] = end += order.begins[block];
  for (int64_t r = count - 1; r >= 0; r--) order.rows[--order.begins[channel_of(rows, r) / kLanes]] = r;
  return order;
}

/** A strip of dy. */
struct Strip {
  int64_t first_image, images, first_row, out_rows;
};

/** 16 channels of up to 32 pixels of dy, each channel's pixels to a register. */
void transpose_pixels(const uint16_t* dy, int64_t channels, int64_t size, __mmask16 mask, __m512i* out) {
  __m512i in[16];
  const auto load = [&](int64_t i) {
    return i < size ? _mm256_maskz_loadu_epi16(mask, dy + i * channels) : _mm256_setzero_si256();
  };
  if (size == 32 && mask == 0xffff) {
    for (int64_t i = 0; i < 16; i++) {
      const auto* from = reinterpret_cast<const __m256i*>(dy + 2 * i * channels);
      const auto* next = reinterpret_cast<const __m256i*>(dy + (2 * i + 1) * channels);
      in[i] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(from)), _mm256_loadu_si256(next), 1);
    }
  } else {
    for (int64_t i = 0; i < 16; i++) in[i] = _mm512_inserti64x4(_mm512_castsi256_si512(load(2 * i)), load(2 * i + 1), 1);
  }
  transpose_pairs(in, out);
}

/** Lanes [from, to) to `place`. Stores with a mask of 16-bit lanes are slow; the usual widths go without. */
inline void store_lanes(uint16_t* place, const uint16_t* lanes, int64_t from, int64_t to) {
  const int64_t count = to - from;
  if (count == 32) {
    _mm512_storeu_si512(place, _mm512_load_si512(lanes));
  } else if (count == 16) {
    const auto* source = reinterpret_cast<const __m256i*>(lanes + from);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(place), _mm256_loadu_si256(source));
  } else if (count == 8) {
    const auto* source = reinterpret_cast<const __m128i*>(lanes + from);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(place), _mm_loadu_si128(source));
  } else {
    for (int64_t i = 0; i < count; i++) place[i] = lanes[from + i];
  }
}

/** One block of 16 output channels of one image's rows. */
void place_block(const PlaneConvolution& shape, const Layout& layout, const uint16_t* dy, int64_t pixels, const int64_t* rows,
                 const int64_t* chosen, int64_t count, int64_t block, uint16_t* planes) {
  const int64_t channels = shape.outputs, width = shape.out[1];
  const int64_t lanes = min_of(kLanes, channels - block * kLanes);
  const __mmask16 mask = static_cast<__mmask16>((1u << lanes) - 1);
  for (int64_t pixel = 0; pixel < pixels; pixel += 32) {
    const int64_t size = min_of(32, pixels - pixel);
    alignas(64) __m512i out[16];
    transpose_pixels(dy + pixel * channels + block * kLanes, channels, size, mask, out);
    for (int64_t at = 0; at < size;) {
      const int64_t row = (pixel + at) / width, column = (pixel + at) % width;
      const int64_t end = min_of(size, at + width - column);
      uint16_t* place = planes + row * layout.pitch + layout.left + column;
      for (int64_t i = 0; i < count; i++) {
        const int64_t r = chosen[i];
        store_lanes(place + r * layout.a_stride, reinterpret_cast<const uint16_t*>(out + channel_of(rows, r) % kLanes), at,
                    end);
      }
      at = end;
    }
  }
}

/** The channels of one image's rows, one by one. */
void place_channels(const PlaneConvolution& shape, const Layout& layout, const uint16_t* dy, int64_t out_rows,
                    const int64_t* rows, const int64_t* chosen, int64_t count, uint16_t* planes) {
  const int64_t channels = shape.outputs, width = shape.out[1];
  for (int64_t row = 0; row < out_rows; row++)
    for (int64_t i = 0; i < count; i++) {
      const int64_t r = chosen[i];
      const uint16_t* from = dy + row * width * channels + channel_of(rows, r);
      uint16_t* to = planes + r * layout.a_stride + row * layout.pitch + layout.left;
      for (int64_t column = 0; column < width; column++) to[column] = from[column * channels];
    }
}

void place_dy(const PlaneConvolution& shape, const Layout& layout, const Strip& strip, const uint16_t* dy, const int64_t* rows,
              const Order& order, uint16_t* a) {
  const int64_t blocks = ceiling(shape.outputs, kLanes);
  for (int64_t image = 0; image < strip.images; image++) {
    const int64_t first_row = (strip.first_image + image) * shape.out[0] + strip.first_row;
    const uint16_t* from = dy + first_row * shape.out[1] * shape.outputs;
    uint16_t* planes = a + image * layout.out_rows * layout.pitch;
    for (int64_t block = 0; block < blocks; block++) {
      const int64_t* chosen = order.rows + order.begins[block];
      const int64_t count = order.begins[block + 1] - order.begins[block];
      if (count >= kWorthTransposing)
        place_block(shape, layout, from, strip.out_rows * shape.out[1], rows, chosen, count, block, planes);
      else if (count > 0)
        place_channels(shape, layout, from, strip.out_rows, rows, chosen, count, planes);
    }
  }
}

// ----------------------------------------------------------------------------------------------------------------- x

/** Pixels of one row of x; `between` elements lie between a pixel and the next. */
struct Pixels {
  const uint8_t* codes;
  const uint16_t* values;
  int64_t count, between;
};

inline __m512i load_codes(const uint8_t* codes, __mmask16 mask, __m512i zero) {
  const __m512i code = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, codes));
  return _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_sub_epi32(code, zero)));
}

inline __m512i load_values(const uint16_t* values, __mmask16 mask) {
  return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, values)), 16);
}

/** The first pixel of a pair to the low halves, the second to the high ones; both are bfloat16 in their high halves. */
inline __m512i paired(__m512i first, __m512i second) {
  return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(first, 16), second);
}

/** 16 lanes of a row's pixels, from lane `lane` on, into pairs; zeros up to `pairs`. */
template <class Load>
void pair_row(Load load, int64_t count, int64_t pairs, uint16_t* to) {
  int64_t pair = 0;
  for (; 2 * pair + 1 < count; pair++) _mm512_store_si512(to + pair * 32, paired(load(2 * pair), load(2 * pair + 1)));
  if (2 * pair < count) {
    _mm512_store_si512(to + pair * 32, paired(load(2 * pair), _mm512_setzero_si512()));
    pair++;
  }
  for (; pair < pairs; pair++) _mm512_store_si512(to + pair * 32, _mm512_setzero_si512());
}

void pair_block(const Pixels& row, int64_t lane, int64_t lanes, __m512i zero, int64_t pairs, uint16_t* to) {
  const __mmask16 mask = static_cast<__mmask16>(lanes >= kLanes ? 0xffff : (1u << lanes) - 1);
  const uint8_t* codes = row.codes + lane;
  const uint16_t* values = row.values + lane;
  const int64_t between = row.between;
  if (row.values)
    pair_row([=](int64_t i) { return load_values(values + i * between, mask); }, row.count, pairs, to);
  else
    pair_row([=](int64_t i) { return load_codes(codes + i * between, mask, zero); }, row.count, pairs, to);
}

/** All blocks of one row of b. */
void place_row(const Layout& layout, const Pixels& row, __m512i zero, uint16_t* to) {
  const int64_t pairs = layout.pairs * layout.segments;
  for (int64_t block = 0; block < layout.blocks; block++)
    pair_block(row, block * kLanes, layout.lanes - block * kLanes, zero, pairs, to + block * pairs * 32);
}

struct Source {
  const PlaneConvolution* shape;
  const WeightGradientInput<uint16_t>* x;
  /** Of the columns. */
  int64_t phase;
  __m512i zero;
  char* staging;
};

int64_t columns_of(const Source& source) {
  const int64_t width = source.shape->in[1], stride = source.shape->strides[1];
  return source.phase < width ? ceiling(width - source.phase, stride) : 0;
}

bool has_row(const PlaneConvolution& shape, int64_t row) { return row >= 0 && row < shape.in[0]; }

/** One of x's rows as it is. */
void place_plain_row(const Layout& layout, const Source& source, int64_t image, int64_t row, uint16_t* to) {
  const auto& shape = *source.shape;
  if (!has_row(shape, row)) {
    memset(to, 0, static_cast<size_t>(layout.b_stride) * 2);
    return;
  }
  const int64_t offset = ((image * shape.in[0] + row) * shape.in[1] + source.phase) * shape.inputs;
  const auto& x = *source.x;
  const Pixels pixels{x.codes ? x.codes + offset : nullptr, x.values ? x.values + offset : nullptr, columns_of(source),
                      shape.strides[1] * shape.inputs};
  place_row(layout, pixels, source.zero, to);
}

/** Columns of one row, each to its place `between` elements after the one before; `wide` elements a time while they last. */
template <class T, int64_t wide>
void stage_row(const T* from, int64_t step, int64_t size, int64_t columns, int64_t last, T* to, int64_t between) {
  int64_t column = 0;
  for (; column < columns && column * step + wide <= last; column++)
    memcpy(to + column * between, from + column * step, wide * sizeof(T));
  for (; column < columns; column++)
    for (int64_t i = 0; i < size; i++) to[column * between + i] = from[column * step + i];
}

/** The rows that meet one row of dy, side by side: [column][kernel row][input channel], and room to write beyond the last. */
template <class T>
void stage(const PlaneConvolution& shape, const T* x, int64_t phase, int64_t columns, int64_t image, int64_t first,
           int64_t between, T zero, T* staging) {
  const int64_t size = shape.inputs, step = shape.strides[1] * size, last = (shape.in[1] - phase) * size;
  for (int64_t kh = 0; kh < shape.kernel[0]; kh++) {
    const int64_t row = first + kh * shape.dilations[0];
    T* to = staging + kh * size;
    if (!has_row(shape, row)) {
      for (int64_t column = 0; column < columns; column++)
        for (int64_t i = 0; i < size; i++) to[column * between + i] = zero;
      continue;
    }
    const T* from = x + ((image * shape.in[0] + row) * shape.in[1] + phase) * size;
    if (size == 1)
      stage_row<T, 1>(from, step, size, columns, last, to, between);
    else if (size <= 4)
      stage_row<T, 4>(from, step, size, columns, last, to, between);
    else
      stage_row<T, kLanes>(from, step, size, columns, last, to, between);
  }
}

void place_packed_row(const Layout& layout, const Source& source, int64_t image, int64_t out_row, uint16_t* to) {
  const auto& shape = *source.shape;
  const auto& x = *source.x;
  const int64_t first = out_row * shape.strides[0] - shape.begin[0], columns = columns_of(source);
  Pixels pixels{nullptr, nullptr, columns, layout.lanes + kLanes};
  if (x.codes) {
    auto* staging = reinterpret_cast<uint8_t*>(source.staging);
    stage<uint8_t>(shape, x.codes, source.phase, columns, image, first, pixels.between, x.zero, staging);
    pixels.codes = staging;
  } else {
    auto* staging = reinterpret_cast<uint16_t*>(source.staging);
    stage<uint16_t>(shape, x.values, source.phase, columns, image, first, pixels.between, 0, staging);
    pixels.values = staging;
  }
  place_row(layout, pixels, source.zero, to);
}

void place_x(const Layout& layout, const Strip& strip, const Source& source, uint16_t* b) {
  const auto& shape = *source.shape;
  const int64_t rows = b_rows(layout, strip.out_rows);
  for (int64_t image = 0; image < strip.images; image++)
    for (int64_t row = 0; row < rows; row++) {
      uint16_t* to = b + (image * layout.in_rows + row) * layout.b_stride;
      const int64_t from = strip.first_image + image;
      if (layout.is_packed)
        place_packed_row(layout, source, from, strip.first_row + row, to);
      else
        place_plain_row(layout, source, from, strip.first_row * shape.strides[0] - shape.begin[0] + row, to);
    }
}

// ------------------------------------------------------------------------------------------------------------ product

/** A tile of the product: offsets of its rows in a, of its columns in b, and of their sums. */
struct Tile {
  const uint16_t* a[kTileA];
  const uint16_t* b[kTileB];
  float* sums[kTileA * kTileB];
};

inline __m512bh broadcast_pair(const uint16_t* place) {
  int32_t pair;
  memcpy(&pair, place, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}

template <int rows, int columns>
void multiply(const Tile& tile, const Segment* segments, int64_t count, int64_t pairs) {
  __m512 sums[rows][columns];
  const uint16_t* a[rows];
  const uint16_t* b[columns];
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++) {
    a[i] = tile.a[i];
#pragma GCC unroll 8
    for (int j = 0; j < columns; j++) sums[i][j] = _mm512_setzero_ps();
  }
#pragma GCC unroll 8
  for (int j = 0; j < columns; j++) b[j] = tile.b[j];
  for (const Segment* segment = segments; segment < segments + count; segment++) {
    int64_t at_a = segment->a, at_b = segment->b;
    for (const int64_t end = at_a + 2 * pairs; at_a < end; at_a += 2, at_b += 32) {
      __m512bh right[columns];
#pragma GCC unroll 8
      for (int j = 0; j < columns; j++) right[j] = (__m512bh)_mm512_load_si512(b[j] + at_b);
#pragma GCC unroll 8
      for (int i = 0; i < rows; i++) {
        const __m512bh left = broadcast_pair(a[i] + at_a);
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], left, right[j]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
    for (int j = 0; j < columns; j++) {
      float* place = tile.sums[i * columns + j];
      _mm512_store_ps(place, _mm512_add_ps(_mm512_load_ps(place), sums[i][j]));
    }
}

using Multiply = void (*)(const Tile&, const Segment*, int64_t, int64_t);

#define FROSTBIT_ROWS(columns)                                                                                    \
  {                                                                                                               \
    multiply<1, columns>, multiply<2, columns>, multiply<3, columns>, multiply<4, columns>, multiply<5, columns>, \
        multiply<6, columns>, multiply<7, columns>, multiply<8, columns>                                          \
  }
constexpr Multiply kMultiply[kTileB][kTileA] = {FROSTBIT_ROWS(1), FROSTBIT_ROWS(2), FROSTBIT_ROWS(3)};
#undef FROSTBIT_ROWS

/** The i-th of so many parts of `size` things that are as even as they can be. */
int64_t part_begin(int64_t size, int64_t parts, int64_t i) { return size * i / parts; }

struct Product {
  const PlaneConvolution* shape;
  const Layout* layout;
  const uint16_t *a, *b;
  /** Those of one phase. */
  const KernelColumn* kernel;
  int64_t kernel_columns, count;
  float* sums;
};

int64_t list_kernel(const PlaneConvolution& shape, const Layout& layout, int64_t phase, KernelColumn* kernel) {
  int64_t count = 0;
  for (int64_t kw = 0; kw < shape.kernel[1]; kw++)
    if (phase_of(shape, kw) == phase) kernel[count++] = {kw, layout.left - shift_of(shape, kw)};
  return count;
}

/** Columns of the product are [block][kernel row]; its rows are [row][kernel column of the phase]. */
void fill_tile(const Product& product, int64_t row, int64_t rows, int64_t column, int64_t columns, Tile* tile) {
  const auto& layout = *product.layout;
  for (int64_t j = 0; j < columns; j++) {
    const int64_t block = (column + j) / layout.taps, tap = (column + j) % layout.taps;
    tile->b[j] = product.b + tap * layout.tap_step * layout.b_stride + block * layout.pairs * layout.segments * 2 * kLanes;
  }
  int64_t r = row / product.kernel_columns, at = row % product.kernel_columns;
  for (int64_t i = 0; i < rows; i++) {
    tile->a[i] = product.a + r * layout.a_stride + product.kernel[at].offset;
    for (int64_t j = 0; j < columns; j++)
      tile->sums[i * columns + j] = product.sums + sums_at(*product.shape, product.count, column + j, r, product.kernel[at].kw);
    if (++at == product.kernel_columns) r++, at = 0;
  }
}

void multiply_block(const Product& product, const Segment* segments, int64_t count) {
  const int64_t rows = product.count * product.kernel_columns, columns = product.layout->columns;
  const int64_t row_tiles = ceiling(rows, kTileA), column_tiles = ceiling(columns, kTileB);
  for (int64_t j = 0; j < column_tiles; j++) {
    const int64_t column = part_begin(columns, column_tiles, j), width = part_begin(columns, column_tiles, j + 1) - column;
    for (int64_t i = 0; i < row_tiles; i++) {
      const int64_t row = part_begin(rows, row_tiles, i), height = part_begin(rows, row_tiles, i + 1) - row;
      Tile tile;
      fill_tile(product, row, height, column, width, &tile);
      kMultiply[width - 1][height - 1](tile, segments, count, product.layout->pairs);
    }
  }
}

int64_t list_segments(const Layout& layout, const Strip& strip, Segment* segments) {
  int64_t count = 0;
  for (int64_t image = 0; image < strip.images; image++)
    for (int64_t row = 0; row < strip.out_rows; row++)
      for (int64_t segment = 0; segment < layout.segments; segment++)
        segments[count++] = {
            (image * layout.out_rows + row) * layout.pitch + segment * layout.pairs * 2,
            (image * layout.in_rows + row * layout.row_step) * layout.b_stride + segment * layout.pairs * 2 * kLanes};
  return count;
}

void multiply_strip(const Product& product, const Segment* segments, int64_t count) {
  const int64_t blocks = max_of(1, ceiling(count * product.layout->pairs, kBlockPairs + kBlockPairs / 4));
  for (int64_t i = 0; i < blocks; i++) {
    const int64_t begin = part_begin(count, blocks, i);
    multiply_block(product, segments + begin, part_begin(count, blocks, i + 1) - begin);
  }
}

void add_up(const PlaneConvolution& shape, int64_t images, const WeightGradientInput<uint16_t>& x, const uint16_t* dy,
            const int64_t* rows, int64_t count, float* sums, char* scratch) {
  if (images == 0 || count == 0 || shape.out[0] * shape.out[1] == 0 || shape.in[0] * shape.in[1] * shape.inputs == 0) return;
  const Layout layout = layout_of(shape, images, count);
  auto* a = reinterpret_cast<uint16_t*>(scratch);
  auto* b = reinterpret_cast<uint16_t*>(scratch += layout.a_bytes);
  char* staging = scratch += layout.b_bytes;
  auto* segments = reinterpret_cast<Segment*>(scratch += layout.staging_bytes);
  auto* kernel = reinterpret_cast<KernelColumn*>(scratch += layout.segment_bytes);
  const Order order = order_rows(shape, rows, count, scratch += layout.kernel_bytes);
  memset(a, 0, static_cast<size_t>(layout.a_bytes));
  for (int64_t image = 0; image < images; image += layout.images)
    for (int64_t row = 0; row < shape.out[0]; row += layout.out_rows) {
      const Strip strip{image, min_of(layout.images, images - image), row, min_of(layout.out_rows, shape.out[0] - row)};
      place_dy(shape, layout, strip, dy, rows, order, a);
      const int64_t segment_count = list_segments(layout, strip, segments);
      for (int64_t phase = 0; phase < shape.strides[1]; phase++) {
        const int64_t kernel_columns = list_kernel(shape, layout, phase, kernel);
        if (kernel_columns == 0) continue;
        place_x(layout, strip, {&shape, &x, phase, _mm512_set1_epi32(x.zero), staging}, b);
        multiply_strip({&shape, &layout, a, b, kernel, kernel_columns, count, sums}, segments, segment_count);
      }
    }
}

void give(const PlaneConvolution& shape, int64_t count, const float* sums, int64_t parts, int64_t stride, float factor,
          int64_t first, int64_t last, float* dw) {
  const Layout layout = layout_of(shape, 1, count);
  const int64_t height = shape.kernel[0], width = shape.kernel[1], taps = height * width;
  for (int64_t r = first; r < last; r++)
    for (int64_t column = 0; column < layout.columns; column++)
      for (int64_t kw = 0; kw < width; kw++) {
        const float* from = sums + sums_at(shape, count, column, r, kw);
        __m512 total = _mm512_load_ps(from);
        for (int64_t part = 1; part < parts; part++) total = _mm512_add_ps(total, _mm512_load_ps(from + part * stride));
        alignas(64) float values[kLanes];
        _mm512_store_ps(values, _mm512_mul_ps(total, _mm512_set1_ps(factor)));
        const int64_t block = column / layout.taps, tap = column % layout.taps;
        const int64_t lanes = min_of(kLanes, layout.lanes - block * kLanes);
        for (int64_t lane = 0; lane < lanes; lane++) {
          const int64_t at = block * kLanes + lane;
          const int64_t ci = layout.is_packed ? at % shape.inputs : at, kh = layout.is_packed ? at / shape.inputs : tap;
          dw[(r * shape.inputs + ci) * taps + kh * width + kw] = values[lane];
        }
      }
}

bool serves(const PlaneConvolution&) { return true; }

}  // namespace

const WeightGradientKernels<uint16_t> weight_gradient_avx512_bf16 = {"frostbit avx512_bf16", serves, scratch_bytes,
                                                                     sums_elements,          add_up, give};

}  // namespace frostbit
#endif
