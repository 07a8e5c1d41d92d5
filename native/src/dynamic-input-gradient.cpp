// The loops behind dynamic-input-gradient.h, compiled for AVX-512-BF16 and VNNI; the rule at the top of kernels.cpp holds here
// too.
#include "dynamic-input-gradient.h"

#if defined(__x86_64__)
#include "avx512.h"

namespace frostbit {
namespace {

/** Pixels whose sums stay in registers. */
constexpr int kPixels = 8;
/** The code of 0. */
constexpr int kZero = 128;
/** 2³² over the golden ratio. */
constexpr uint32_t kGolden = 0x9e3779b9;
/** A sum of so many products of codes fits 32 bits. */
constexpr int64_t kMaxTerms = 1 << 16;

int64_t taps_of(const PlaneConvolution& shape) { return shape.kernel[0] * shape.kernel[1]; }

/** dy's codes, with the pixels around them that taps of dx's pixels fall on. */
struct Codes {
  uint8_t* data;
  int64_t height, width, channels;
  /** Of dy's first pixel; negative where dx has no use for it. */
  int64_t top, left;

  Codes(const PlaneConvolution& shape, void* place)
      : data(static_cast<uint8_t*>(place)),
        height(shape.in[0] + shape.kernel[0] - 1),
        width(shape.in[1] + shape.kernel[1] - 1),
        channels(shape.outputs),
        top(shape.kernel[0] - 1 - shape.begin[0]),
        left(shape.kernel[1] - 1 - shape.begin[1]) {}

  int64_t bytes() const { return height * width * channels; }
  uint8_t* at(int64_t h, int64_t w) const { return data + (h * width + w) * channels; }
};

bool serves(const PlaneConvolution& shape) {
  for (int axis = 0; axis < 2; axis++)
    if (shape.strides[axis] != 1 || shape.dilations[axis] != 1) return false;
  return shape.inputs % kLanes == 0 && shape.outputs % kLanes == 0 && taps_of(shape) * shape.outputs <= kMaxTerms;
}

int64_t filter_bytes(const PlaneConvolution& shape) { return 64 + taps_of(shape) * shape.outputs * kLanes; }

/** Four of dy's channels of sixteen of dx's, taps from their end, behind what the code of 0 adds to each sum. */
void pack(const PlaneConvolution& shape, const int8_t* w, int64_t block, char* filter) {
  const int64_t taps = taps_of(shape);
  auto* const offsets = reinterpret_cast<int32_t*>(filter);
  auto* const packed = reinterpret_cast<int8_t*>(filter + 64);
  int32_t sums[kLanes] = {};
  for (int64_t o = 0; o < shape.outputs; o++) {
    const int8_t* const from = w + (o * shape.inputs + block * kLanes) * taps;
    for (int64_t lane = 0; lane < kLanes; lane++)
      for (int64_t tap = 0; tap < taps; tap++) {
        const int8_t code = from[lane * taps + taps - 1 - tap];
        packed[(tap * shape.outputs + o) / 4 * 64 + lane * 4 + o % 4] = code;
        sums[lane] += code;
      }
  }
  for (int64_t lane = 0; lane < kLanes; lane++) offsets[lane] = -kZero * sums[lane];
}

int64_t scratch_bytes(const PlaneConvolution& shape) { return aligned(Codes(shape, nullptr).bytes()); }

__m512 scaled(const uint16_t* x, const float* scales) {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
  return _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)), _mm512_loadu_ps(scales));
}

/** As bits: magnitudes are in their order, infinity and what is no number behind all others. */
uint32_t largest_of(const uint16_t* dy, int64_t pixels, int64_t channels, const float* scales) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i largest = _mm512_setzero_si512();
  for (int64_t pixel = 0; pixel < pixels; pixel++, dy += channels)
    for (int64_t o = 0; o < channels; o += kLanes)
      largest = _mm512_max_epu32(largest, _mm512_and_si512(_mm512_castps_si512(scaled(dy + o, scales + o)), magnitude));
  return _mm512_reduce_max_epu32(largest);
}

/**
 * The step, as kernels.h's quantize_gradient gives one. Before it is rounded a number is moved by less than half a step, by
 * the fractions of multiples of the golden ratio: what is smaller than half a step would be zeros else, in all images alike.
 */
float round_image(const PlaneConvolution& shape, const uint16_t* dy, const float* scales, const Codes& codes) {
  constexpr uint32_t infinite = 0x7f800000;
  constexpr float smallest = 0x1p-126f;
  const uint32_t largest = largest_of(dy, shape.out[0] * shape.out[1], shape.outputs, scales);
  if (largest >= infinite) return __builtin_nanf("");
  float step;
  memcpy(&step, &largest, sizeof step);
  step /= 127.0f;
  if (step < smallest) return 0.0f;
  const __m512 inverse = _mm512_set1_ps(1.0f / step);
  const __m512i zero = _mm512_set1_epi32(kZero), golden = _mm512_set1_epi32(static_cast<int32_t>(kGolden));
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i next = _mm512_set1_epi32(static_cast<int32_t>(kGolden * kLanes));
  // Less than half a step, so that whole numbers of steps stay as they are.
  const __m512 to_half = _mm512_set1_ps(0x1.ffp-33f);
  for (int64_t h = max_of(0, -codes.top); h < min_of(shape.out[0], codes.height - codes.top); h++)
    for (int64_t w = max_of(0, -codes.left); w < min_of(shape.out[1], codes.width - codes.left); w++) {
      const int64_t first = (h * shape.out[1] + w) * shape.outputs;
      uint8_t* const to = codes.at(h + codes.top, w + codes.left);
      __m512i moves = _mm512_mullo_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int32_t>(first))), golden);
      for (int64_t o = 0; o < shape.outputs; o += kLanes, moves = _mm512_add_epi32(moves, next)) {
        const __m512 move = _mm512_mul_ps(_mm512_cvtepi32_ps(moves), to_half);
        const __m512i code = _mm512_cvtps_epi32(_mm512_fmadd_ps(scaled(dy + first + o, scales + o), inverse, move));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + o), _mm512_cvtepi32_epi8(_mm512_add_epi32(code, zero)));
      }
    }
  return step;
}

/** Sums of eight pixels and kBlocks times sixteen channels; `at`: each pixel's first codes. */
template <int kBlocks>
void multiply(const PlaneConvolution& shape, const Codes& codes, const uint8_t* const (&at)[kPixels], const char* filter,
              int64_t filter_bytes, __m512i (&sums)[kPixels][kBlocks]) {
  const char* from[kBlocks];
#pragma GCC unroll 2
  for (int b = 0; b < kBlocks; b++) {
    from[b] = filter + b * filter_bytes + 64;
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; i++) sums[i][b] = _mm512_load_si512(filter + b * filter_bytes);
  }
  const int64_t row = shape.kernel[1] * codes.channels;
  for (int64_t h = 0; h < shape.kernel[0]; h++)
    for (int64_t j = h * codes.width * codes.channels, end = j + row; j < end; j += 4) {
      __m512i weights[kBlocks];
#pragma GCC unroll 2
      for (int b = 0; b < kBlocks; b++) {
        weights[b] = _mm512_load_si512(from[b]);
        from[b] += 64;
      }
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; i++) {
        int32_t four;
        memcpy(&four, at[i] + j, sizeof four);
        const __m512i everywhere = _mm512_set1_epi32(four);
#pragma GCC unroll 2
        for (int b = 0; b < kBlocks; b++) sums[i][b] = _mm512_dpbusd_epi32(sums[i][b], everywhere, weights[b]);
      }
    }
}

template <int kBlocks>
void multiply_image(const PlaneConvolution& shape, const Codes& codes, const char* filter, int64_t filter_bytes, float step,
                    uint16_t* dx) {
  const int64_t pixels = shape.in[0] * shape.in[1];
  const __m512 steps = _mm512_set1_ps(step);
  int64_t h = 0, w = 0;
  for (int64_t pixel = 0; pixel < pixels; pixel += kPixels) {
    const int64_t count = min_of(kPixels, pixels - pixel);
    const uint8_t* at[kPixels];
    for (int64_t i = 0; i < kPixels; i++) {
      at[i] = i < count ? codes.at(h, w) : at[0];
      if (i < count && ++w == shape.in[1]) h++, w = 0;
    }
    __m512i sums[kPixels][kBlocks];
    multiply<kBlocks>(shape, codes, at, filter, filter_bytes, sums);
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; i++) {
      if (i == count) break;
#pragma GCC unroll 2
      for (int b = 0; b < kBlocks; b++) {
        const auto rounded = (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[i][b]), steps));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(dx + (pixel + i) * shape.inputs + b * kLanes), rounded);
      }
    }
  }
}

void run(const PlaneConvolution& shape, int64_t images, const uint16_t* dy, const char* filter, const float* scales,
         uint16_t* dx, char* scratch) {
  const Codes codes(shape, scratch);
  memset(scratch, kZero, static_cast<size_t>(codes.bytes()));
  const int64_t bytes = filter_bytes(shape), blocks = shape.inputs / kLanes;
  for (int64_t n = 0; n < images; n++) {
    const float step = round_image(shape, dy + n * shape.out[0] * shape.out[1] * shape.outputs, scales, codes);
    uint16_t* const image = dx + n * shape.in[0] * shape.in[1] * shape.inputs;
    int64_t block = 0;
    for (; block + 2 <= blocks; block += 2)
      multiply_image<2>(shape, codes, filter + block * bytes, bytes, step, image + block * kLanes);
    if (block < blocks) multiply_image<1>(shape, codes, filter + block * bytes, bytes, step, image + block * kLanes);
  }
}

}  // namespace

const DynamicInputGradientKernels dynamic_input_gradient_avx512_bf16 = {
    "frostbit avx512_bf16 vnni", serves, filter_bytes, pack, scratch_bytes, run};

}  // namespace frostbit
#endif
