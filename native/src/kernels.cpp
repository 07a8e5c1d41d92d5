// Compiled once per instruction set; FROSTBIT_KERNELS names the table, FROSTBIT_ISA the set. Only plain functions without
// external linkage may be used here: a template or inline function of the standard library, compiled for AVX-512, could be the
// copy that the linker keeps for everybody.
#include "kernels.h"

#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/** Results may take the place of operands, element for element; otherwise nothing overlaps. */
#define FROSTBIT_LOOP _Pragma("GCC ivdep")

#include "row-loops.h"

namespace frostbit {
namespace {

/** Sixteen floats at a time, in as many registers as the instruction set needs for them. */
constexpr int kWide = 16;
using Wide = float __attribute__((vector_size(kWide * sizeof(float))));
using WideInt = int32_t __attribute__((vector_size(kWide * sizeof(int32_t))));
using WideBits = uint32_t __attribute__((vector_size(kWide * sizeof(uint32_t))));
using WideHalf = uint16_t __attribute__((vector_size(kWide * sizeof(uint16_t))));
using WideByte = uint8_t __attribute__((vector_size(kWide)));

Wide load(const float* x) {
  Wide wide;
  __builtin_memcpy(&wide, x, sizeof wide);
  return wide;
}

void store(float* x, Wide wide) { __builtin_memcpy(x, &wide, sizeof wide); }

/** To the nearest whole number, ties to even. */
Wide rounded(Wide wide) {
#if defined(__AVX512F__)
  return _mm512_maskz_roundscale_ps(0xffff, wide, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  float lanes[kWide];
  store(lanes, wide);
  FROSTBIT_LOOP
  for (int i = 0; i < kWide; i++) lanes[i] = rintf(lanes[i]);
  return load(lanes);
#endif
}

/**
 * Rows of `width` columns: `strip(j, end)` for sixteen columns from j on of all whole rows, up to element `end`; `one(i, j)`
 * for each other element i, in column j.
 */
template <class Strip, class One>
void over_columns(int64_t count, int64_t width, Strip strip, One one) {
  const int64_t whole = count / width * width, wide = width / kWide * kWide;
  for (int64_t j = 0; j < wide; j += kWide) strip(j, whole);
  for (int64_t i = 0; i < whole; i += width)
    for (int64_t j = wide; j < width; j++) one(i + j, j);
  for (int64_t i = whole; i < count; i++) one(i, i - whole);
}

template <class Result, class Operation>
void map2(Repeat repeat, const float* a, const float* b, Result* y, int64_t count, Operation operation) {
  if (repeat == Repeat::Right) {
    const float right = *b;
    FROSTBIT_LOOP
    for (int64_t i = 0; i < count; i++) y[i] = operation(a[i], right);
  } else if (repeat == Repeat::Left) {
    const float left = *a;
    FROSTBIT_LOOP
    for (int64_t i = 0; i < count; i++) y[i] = operation(left, b[i]);
  } else {
    FROSTBIT_LOOP
    for (int64_t i = 0; i < count; i++) y[i] = operation(a[i], b[i]);
  }
}

void binary(Binary op, Repeat repeat, const float* a, const float* b, float* y, int64_t count) {
  switch (op) {
    case Binary::Add: return map2(repeat, a, b, y, count, [](float p, float q) { return p + q; });
    case Binary::Sub: return map2(repeat, a, b, y, count, [](float p, float q) { return p - q; });
    case Binary::Mul: return map2(repeat, a, b, y, count, [](float p, float q) { return p * q; });
    case Binary::Div: return map2(repeat, a, b, y, count, [](float p, float q) { return p / q; });
    case Binary::Max: return map2(repeat, a, b, y, count, [](float p, float q) { return p > q || p != p ? p : q; });
    case Binary::Min: return map2(repeat, a, b, y, count, [](float p, float q) { return p < q || p != p ? p : q; });
    case Binary::Pow: return map2(repeat, a, b, y, count, [](float p, float q) { return powf(p, q); });
    case Binary::ReluGradient: return map2(repeat, a, b, y, count, [](float p, float q) { return q > 0 ? p : 0.0f; });
    case Binary::PRelu: return map2(repeat, a, b, y, count, [](float p, float q) { return p < 0 ? p * q : p; });
    case Binary::FMod: return map2(repeat, a, b, y, count, [](float p, float q) { return fmodf(p, q); });
    case Binary::Mod: return map2(repeat, a, b, y, count, [](float p, float q) { return fmodf(fmodf(p, q) + q, q); });
    case Binary::Count: return;
  }
}

void compare(Comparison op, Repeat repeat, const float* a, const float* b, uint8_t* y, int64_t count) {
  switch (op) {
    case Comparison::Equal: return map2(repeat, a, b, y, count, [](float p, float q) { return p == q; });
    case Comparison::Greater: return map2(repeat, a, b, y, count, [](float p, float q) { return p > q; });
    case Comparison::GreaterOrEqual: return map2(repeat, a, b, y, count, [](float p, float q) { return p >= q; });
    case Comparison::Less: return map2(repeat, a, b, y, count, [](float p, float q) { return p < q; });
    case Comparison::LessOrEqual: return map2(repeat, a, b, y, count, [](float p, float q) { return p <= q; });
    default: return;
  }
}

template <class Operation>
void map_conditions(const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t count, Operation operation) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) y[i] = operation(a[i] != 0, b[i] != 0);
}

void combine_conditions(Comparison op, const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t count) {
  switch (op) {
    case Comparison::And: return map_conditions(a, b, y, count, [](bool p, bool q) { return p & q; });
    case Comparison::Or: return map_conditions(a, b, y, count, [](bool p, bool q) { return p | q; });
    case Comparison::Xor: return map_conditions(a, b, y, count, [](bool p, bool q) { return p != q; });
    default: return;
  }
}

template <class A, class B>
void choose_from(const uint8_t* condition, A a, B b, float* y, int64_t count) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) {
    const float p = a(i), q = b(i);
    y[i] = condition[i] ? p : q;
  }
}

void choose(const uint8_t* condition, const float* a, const float* b, bool a_is_one, bool b_is_one, float* y, int64_t count) {
  const auto each = [](const float* x) { return [=](int64_t i) { return x[i]; }; };
  const auto one = [](const float* x) { return [value = *x](int64_t) { return value; }; };
  if (a_is_one && b_is_one) return choose_from(condition, one(a), one(b), y, count);
  if (a_is_one) return choose_from(condition, one(a), each(b), y, count);
  if (b_is_one) return choose_from(condition, each(a), one(b), y, count);
  choose_from(condition, each(a), each(b), y, count);
}

template <class Operation>
void map(const float* x, float* y, int64_t count, Operation operation) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) y[i] = operation(x[i]);
}

void unary(Unary op, const float* x, float* y, int64_t count, float alpha, float beta) {
  switch (op) {
    case Unary::Relu: return map(x, y, count, [](float v) { return v < 0 ? 0.0f : v; });
    case Unary::Neg: return map(x, y, count, [](float v) { return -v; });
    case Unary::Abs: return map(x, y, count, [](float v) { return fabsf(v); });
    case Unary::Exp: return map(x, y, count, [](float v) { return exp_of(v); });
    case Unary::Log: return map(x, y, count, [](float v) { return log_of(v); });
    case Unary::Sqrt: return map(x, y, count, [](float v) { return sqrtf(v); });
    case Unary::Reciprocal: return map(x, y, count, [](float v) { return 1 / v; });
    case Unary::Sigmoid: return map(x, y, count, [](float v) { return sigmoid_of(v); });
    case Unary::Tanh: return map(x, y, count, [](float v) { return tanh_of(v); });
    case Unary::Erf: return map(x, y, count, [](float v) { return erf_of(v); });
    case Unary::Floor: return map(x, y, count, [](float v) { return floorf(v); });
    case Unary::Ceil: return map(x, y, count, [](float v) { return ceilf(v); });
    case Unary::Round: return map(x, y, count, [](float v) { return rintf(v); });
    case Unary::Sign: return map(x, y, count, [](float v) { return v > 0 ? 1.0f : v < 0 ? -1.0f : v; });
    case Unary::HardSigmoid:
      return map(x, y, count, [=](float v) {
        const float line = alpha * v + beta;
        return line < 0 ? 0.0f : line > 1 ? 1.0f : line;
      });
    case Unary::HardSwish:
      return map(x, y, count, [](float v) {
        const float line = v / 6 + 0.5f;
        return v * (line < 0 ? 0.0f : line > 1 ? 1.0f : line);
      });
    case Unary::LeakyRelu: return map(x, y, count, [=](float v) { return v < 0 ? alpha * v : v; });
    case Unary::Elu: return map(x, y, count, [=](float v) { return v < 0 ? alpha * expm1_below_one(v) : v; });
    case Unary::Softplus: return map(x, y, count, [](float v) { return softplus_of(v); });
    case Unary::Softsign: return map(x, y, count, [](float v) { return v / (1 + fabsf(v)); });
    case Unary::Sin: return map(x, y, count, [](float v) { return sinf(v); });
    case Unary::Cos: return map(x, y, count, [](float v) { return cosf(v); });
    case Unary::Copy: return map(x, y, count, [](float v) { return v; });
    case Unary::Gelu: return map(x, y, count, [](float v) { return gelu_of(v); });
    case Unary::GeluTanh: return map(x, y, count, [](float v) { return gelu_tanh_of(v); });
    case Unary::Mish: return map(x, y, count, [](float v) { return mish_of(v); });
    case Unary::Selu: return map(x, y, count, [=](float v) { return beta * (v > 0 ? v : alpha * expm1_below_one(v)); });
    case Unary::Celu: return map(x, y, count, [=](float v) { return v < 0 ? alpha * expm1_of(v / alpha) : v; });
    case Unary::ThresholdedRelu: return map(x, y, count, [=](float v) { return v > alpha ? v : 0.0f; });
    case Unary::Shrink: return map(x, y, count, [=](float v) { return v < -alpha ? v + beta : v > alpha ? v - beta : 0.0f; });
    case Unary::Tan: return map(x, y, count, [](float v) { return tanf(v); });
    case Unary::Asin: return map(x, y, count, [](float v) { return asinf(v); });
    case Unary::Acos: return map(x, y, count, [](float v) { return acosf(v); });
    case Unary::Atan: return map(x, y, count, [](float v) { return atanf(v); });
    case Unary::Sinh: return map(x, y, count, [](float v) { return sinhf(v); });
    case Unary::Cosh: return map(x, y, count, [](float v) { return coshf(v); });
    case Unary::Asinh: return map(x, y, count, [](float v) { return asinhf(v); });
    case Unary::Acosh: return map(x, y, count, [](float v) { return acoshf(v); });
    case Unary::Atanh: return map(x, y, count, [](float v) { return atanhf(v); });
    case Unary::Count: return;
  }
}

void clip(const float* x, float* y, int64_t count, float low, float high) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) {
    const float v = x[i] < low ? low : x[i];
    y[i] = v > high ? high : v;
  }
}

void clip_gradient(const float* dy, const float* x, float* dx, int64_t count, float low, float high) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) dx[i] = (x[i] < low) | (x[i] > high) ? 0.0f : dy[i];
}

#if defined(__AVX512F__)
/** Blocks of `size` rows and columns change places with those across the diagonal. */
template <int size>
void swap_blocks(WideBits* rows) {
  WideBits left, right;
  for (uint32_t lane = 0; lane < kWide; lane++) {
    left[lane] = lane & size ? kWide + lane - size : lane;
    right[lane] = lane & size ? kWide + lane : lane + size;
  }
  for (int i = 0; i < kWide; i++) {
    if (i & size) continue;
    const WideBits above = rows[i], below = rows[i + size];
    rows[i] = __builtin_shuffle(above, below, left);
    rows[i + size] = __builtin_shuffle(above, below, right);
  }
}

void turn_whole_tile(const uint32_t* x, int64_t x_step, uint32_t* y, int64_t y_step) {
  WideBits rows[kWide];
  for (int i = 0; i < kWide; i++) __builtin_memcpy(&rows[i], x + i * x_step, sizeof rows[i]);
  swap_blocks<8>(rows);
  swap_blocks<4>(rows);
  swap_blocks<2>(rows);
  swap_blocks<1>(rows);
  for (int j = 0; j < kWide; j++) __builtin_memcpy(y + j * y_step, &rows[j], sizeof rows[j]);
}
#endif

void turn_tile(const uint32_t* x, int64_t x_step, uint32_t* y, int64_t y_step, int64_t rows, int64_t columns) {
#if defined(__AVX512F__)
  if (rows == kWide && columns == kWide) return turn_whole_tile(x, x_step, y, y_step);
#endif
  uint32_t tile[kWide][kWide];
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) tile[j][i] = x[i * x_step + j];
  for (int64_t j = 0; j < columns; j++) __builtin_memcpy(y + j * y_step, tile[j], rows * sizeof(uint32_t));
}

/** Of numbers or of wide ones. */
template <class Bits>
Bits mixed(Bits bits) {
  bits = (bits ^ (bits >> 16)) * kMixing[0];
  bits = (bits ^ (bits >> 13)) * kMixing[1];
  return bits ^ (bits >> 16);
}

/** Goes over the seeds of elements in the order in which they lie: from channel to channel, and on to the next pixel. */
class Seeds {
 public:
  explicit Seeds(const RandomPlaces& places)
      : channels_(places.channels), plane_(places.plane), channel_(places.begin % channels_) {
    const int64_t pixel = places.begin / channels_, image = pixel / plane_;
    at_ = pixel % plane_;
    first_ = places.counter + static_cast<uint32_t>(image * channels_ * plane_ + at_) * kElementStep;
    seed_ = first_ + static_cast<uint32_t>(channel_) * step();
  }

  uint32_t step() const { return static_cast<uint32_t>(plane_) * kElementStep; }
  uint32_t seed() const { return seed_; }
  /** Elements up to the end of the pixel. */
  int64_t rest() const { return channels_ - channel_; }

  /** At most `rest()` elements on. */
  void advance(int64_t count) {
    channel_ += count;
    seed_ += static_cast<uint32_t>(count) * step();
    if (channel_ < channels_) return;
    channel_ = 0;
    first_ += kElementStep;
    if (++at_ == plane_) {
      at_ = 0;
      first_ += static_cast<uint32_t>((channels_ - 1) * plane_) * kElementStep;
    }
    seed_ = first_;
  }

 private:
  int64_t channels_, plane_, channel_, at_;
  uint32_t first_, seed_;
};

template <bool kHasA, bool kHasB>
struct Choice {
  const float *a, *b;
  float* y;
  uint32_t limit;

  void one(int64_t i, uint32_t seed) const { y[i] = mixed(seed) < limit ? (kHasA ? a[i] : 0.0f) : (kHasB ? b[i] : 0.0f); }

  void wide(int64_t i, WideBits seeds) const {
    const Wide chosen = kHasA ? load(a + i) : Wide{}, other = kHasB ? load(b + i) : Wide{};
    store(y + i, mixed(seeds) < limit ? chosen : other);
  }

  /** Elements from i on, whose seeds are `steps[1]` apart. */
  void run(int64_t i, int64_t end, uint32_t seed, WideBits steps) const {
    WideBits seeds = seed + steps;
    for (; i + kWide <= end; i += kWide, seeds += kWide * steps[1]) wide(i, seeds);
    for (int lane = 0; i < end; i++, lane++) one(i, seeds[lane]);
  }

  void all(int64_t count, const RandomPlaces& places) const {
    WideBits lanes;
    for (int lane = 0; lane < kWide; lane++) lanes[lane] = static_cast<uint32_t>(lane);
    if (places.channels == 1)
      return run(0, count, places.counter + static_cast<uint32_t>(places.begin) * kElementStep, lanes * kElementStep);
    Seeds seeds(places);
    int64_t i = 0;
    if (places.channels % kWide == 0) {
      const WideBits steps = lanes * seeds.step();
      for (int64_t end; i < count; i = end) {
        end = i + (seeds.rest() < count - i ? seeds.rest() : count - i);
        run(i, end, seeds.seed(), steps);
        seeds.advance(end - i);
      }
      return;
    }
    const auto next = [&] {
      const uint32_t seed = seeds.seed();
      seeds.advance(1);
      return seed;
    };
    for (; i + kWide <= count; i += kWide) {
      uint32_t lanes[kWide];
      for (uint32_t& lane : lanes) lane = next();
      WideBits wide_seeds;
      __builtin_memcpy(&wide_seeds, lanes, sizeof lanes);
      wide(i, wide_seeds);
    }
    for (; i < count; i++) one(i, next());
  }
};

void random_choice(const float* a, const float* b, float* y, int64_t count, RandomPlaces places) {
  if (a && b) return Choice<true, true>{a, b, y, places.limit}.all(count, places);
  if (a) return Choice<true, false>{a, b, y, places.limit}.all(count, places);
  Choice<false, true>{a, b, y, places.limit}.all(count, places);
}

void fake_quantize(const float* x, float* y, int64_t count, Quantizer quantizer) {
  const auto [scale, zero_point, low, high] = quantizer;
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) {
    const float v = rintf(x[i] / scale) + zero_point;
    const float raised = v < low ? low : v;
    const float q = raised > high ? high : raised;
    y[i] = (q - zero_point) * scale;
  }
}

bool quantize(const float* x, uint8_t* y, int64_t count, Quantizer quantizer) {
  const auto [scale, zero_point, low, high] = quantizer;
  const float shift = zero_point - low, max = high - low;
  int64_t i = 0;
  WideInt odd = {};
  for (; i + kWide <= count; i += kWide) {
    const Wide value = load(x + i);
    const Wide code = rounded(value / scale) + shift;
    const Wide raised = code > 0.0f ? code : Wide{};
    const WideByte bytes =
        __builtin_convertvector(__builtin_convertvector(raised > max ? max + Wide{} : raised, WideInt), WideByte);
    __builtin_memcpy(y + i, &bytes, sizeof bytes);
    odd |= value != value;
  }
  int is_odd = 0;
  for (int j = 0; j < kWide; j++) is_odd |= odd[j];
  for (; i < count; i++) {
    const float code = rintf(x[i] / scale) + shift;
    const float raised = code > 0 ? code : 0.0f;
    y[i] = static_cast<uint8_t>(static_cast<int32_t>(raised > max ? max : raised));
    is_odd |= x[i] != x[i];
  }
  return is_odd != 0;
}

void dequantize(const uint8_t* x, float* y, int64_t count, float zero, float scale) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) y[i] = (static_cast<float>(x[i]) - zero) * scale;
}

void rescale(const int32_t* x, const float* factors, const float* bias, float* y, int64_t count, int64_t width) {
  over_columns(
      count, width,
      [&](int64_t j, int64_t end) {
        const Wide factor = load(factors + j), shift = load(bias + j);
        for (int64_t i = j; i < end; i += width) {
          WideInt sums;
          __builtin_memcpy(&sums, x + i, sizeof sums);
          store(y + i, __builtin_convertvector(sums, Wide) * factor + shift);
        }
      },
      [&](int64_t i, int64_t j) { y[i] = static_cast<float>(x[i]) * factors[j] + bias[j]; });
}

uint32_t bits_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

float float_of(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

void widen_bfloat16(const uint16_t* x, float* y, int64_t count) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) y[i] = float_of(static_cast<uint32_t>(x[i]) << 16);
}

float quantize_gradient(const uint16_t* x, const float* factors, uint8_t* y, int64_t count) {
  constexpr uint32_t infinite = 0x7f800000;
  constexpr float smallest = 0x1p-126f, zero = 128.0f;
  const auto one = [&](int64_t i) { return float_of(static_cast<uint32_t>(x[i]) << 16) * factors[i]; };
  const auto wide = [&](int64_t i) {
    WideHalf halves;
    __builtin_memcpy(&halves, x + i, sizeof halves);
    return (Wide)(__builtin_convertvector(halves, WideBits) << 16) * load(factors + i);
  };
  const int64_t whole = count / kWide * kWide;
  // Magnitudes are in the order of their bits, infinity and what is no number behind all others.
  WideBits lanes = {};
  for (int64_t i = 0; i < whole; i += kWide) {
    const WideBits bits = (WideBits)wide(i) & 0x7fffffff;
    lanes = bits > lanes ? bits : lanes;
  }
  uint32_t largest = 0;
  for (int i = 0; i < kWide; i++) largest = lanes[i] > largest ? lanes[i] : largest;
  for (int64_t i = whole; i < count; i++) {
    const uint32_t bits = bits_of(one(i)) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  const float step = float_of(largest) / 127.0f;
  if (largest >= infinite || step < smallest) {
    for (int64_t i = 0; i < count; i++) y[i] = 128;
    return largest >= infinite ? __builtin_nanf("") : 0.0f;
  }
  const float inverse = 1.0f / step;
  for (int64_t i = 0; i < whole; i += kWide) {
    const WideByte codes =
        __builtin_convertvector(__builtin_convertvector(rounded(wide(i) * inverse) + zero, WideInt), WideByte);
    __builtin_memcpy(y + i, &codes, sizeof codes);
  }
  for (int64_t i = whole; i < count; i++) y[i] = static_cast<uint8_t>(static_cast<int32_t>(rintf(one(i) * inverse) + zero));
  return step;
}

void scale_sums(const int32_t* x, float* y, int64_t count, float factor) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) y[i] = static_cast<float>(x[i]) * factor;
}

/** To the nearest, ties to even. The processor's own instruction takes denormals for zeros, as the pool's threads do. */
void narrow_bfloat16(const float* x, uint16_t* y, int64_t count) {
  int64_t i = 0;
#if defined(__AVX512BF16__)
  for (; i + 16 <= count; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i)));
#endif
  FROSTBIT_LOOP
  for (; i < count; i++) {
    const uint32_t bits = bits_of(x[i]);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    y[i] = static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
  }
}

}  // namespace
}  // namespace frostbit

#include "attention-loops.h"

namespace frostbit {
namespace {

/**
 * Exact: a float16's exponent and fraction moved to a float32's place, and scaled by 2^112; denormals, which would be zero on
 * the pool's threads there, as the multiples of 2^-24 that they are.
 */
float widened_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const bool is_denormal = (half & 0x7c00) == 0;
  const float magnitude = is_denormal ? static_cast<float>(half & 0x3ff) * 0x1p-24f
                                      : float_of(static_cast<uint32_t>(half & 0x7fff) << 13) * 0x1p112f;
  const uint32_t special = (half & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
  return float_of(bits_of(magnitude) | special | sign);
}

/** To the nearest, ties to even; what is too large becomes infinite. */
uint16_t narrowed_half(float value) {
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffff;
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  // Below 2^-14 float16 counts in steps of 2^-24: adding 0.5 lets float32 round to them.
  if (magnitude < 0x38800000) return sign | static_cast<uint16_t>(bits_of(float_of(magnitude) + 0.5f) - 0x3f000000);
  return sign | static_cast<uint16_t>((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

void widen_float16(const uint16_t* x, float* y, int64_t count) {
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= count; i += 16)
    _mm512_storeu_ps(y + i, _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i))));
#elif defined(__F16C__)
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i))));
#endif
  for (; i < count; i++) y[i] = widened_half(x[i]);
}

void narrow_float16(const float* x, uint16_t* y, int64_t count) {
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= count; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i),
                        _mm512_maskz_cvtps_ph(0xffff, _mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__F16C__)
  for (; i + 8 <= count; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i < count; i++) y[i] = narrowed_half(x[i]);
}

/** What a lane of a sum adds up before it is added to a double. */
constexpr int64_t kLaneElements = 64;

/** The two terms of the gradient of scale and zero point; gives dx. */
struct FakeQuantizeTerms {
  float scale, zero_point, low, high;

  Wide add(Wide g, Wide value, Wide& dscale, Wide& dzero) const {
    const Wide quotient = value / scale;
    const Wide whole = rounded(quotient);
    const Wide code = whole + zero_point;
    const WideInt is_low = code<low, is_high = code> high, is_outside = is_low | is_high;
    const Wide inside = code - zero_point - quotient;
    const Wide factor = is_low ? (low - zero_point) + Wide{} : is_high ? (high - zero_point) + Wide{} : inside;
    dscale += g * factor;
    dzero += is_outside ? g : Wide{};
    return is_outside ? Wide{} : g;
  }

  float add(float g, float value, double* sums) const {
    const float quotient = value / scale;
    const float code = rintf(quotient) + zero_point;
    const bool is_low = code<low, is_high = code> high;
    const float factor = is_low ? low - zero_point : is_high ? high - zero_point : code - zero_point - quotient;
    sums[0] += g * factor;
    if (is_low || is_high) sums[1] -= g * scale;
    return is_low || is_high ? 0.0f : g;
  }
};

void fake_quantize_gradient_block(const float* dy, const float* x, float* dx, int64_t count, Quantizer quantizer,
                                  double* sums) {
  const FakeQuantizeTerms terms{quantizer.scale, quantizer.zero_point, quantizer.low, quantizer.high};
  Wide dscale[2] = {}, dzero[2] = {};
  int64_t i = 0;
  for (; i + 2 * kWide <= count; i += 2 * kWide)
    for (int half = 0; half < 2; half++) {
      const int64_t at = i + half * kWide;
      const Wide g = terms.add(load(dy + at), load(x + at), dscale[half], dzero[half]);
      if (dx) store(dx + at, g);
    }
  double total = 0, outside = 0;
  for (int j = 0; j < kWide; j++) {
    total += static_cast<double>(dscale[0][j]) + dscale[1][j];
    outside += static_cast<double>(dzero[0][j]) + dzero[1][j];
  }
  sums[0] += total;
  sums[1] -= outside * quantizer.scale;
  for (; i < count; i++) {
    const float g = terms.add(dy[i], x[i], sums);
    if (dx) dx[i] = g;
  }
}

void fake_quantize_gradient(const float* dy, const float* x, float* dx, int64_t count, Quantizer quantizer, double* sums) {
  constexpr int64_t block = 2 * kWide * kLaneElements;
  for (int64_t i = 0; i < count; i += block)
    fake_quantize_gradient_block(dy + i, x + i, dx ? dx + i : nullptr, count - i < block ? count - i : block, quantizer, sums);
}

void sum_columns(const float* x, int64_t count, int64_t width, float* __restrict sums) {
  for (int64_t i = 0; i < count; i += width) {
    const int64_t row = count - i < width ? count - i : width;
    FROSTBIT_LOOP
    for (int64_t j = 0; j < row; j++) sums[j] += x[i + j];
  }
}

void sum_moments(const float* x, const float* pivot, int64_t count, int64_t width, float* __restrict sums,
                 float* __restrict squares) {
  over_columns(
      count, width,
      [&](int64_t j, int64_t end) {
        const Wide middle = load(pivot + j);
        Wide sum = load(sums + j), square = load(squares + j);
        for (int64_t i = j; i < end; i += width) {
          const Wide difference = load(x + i) - middle;
          sum += difference;
          square += difference * difference;
        }
        store(sums + j, sum);
        store(squares + j, square);
      },
      [&](int64_t i, int64_t j) {
        const float difference = x[i] - pivot[j];
        sums[j] += difference;
        squares[j] += difference * difference;
      });
}

void sum_products(const float* dy, const float* x, const float* pivot, int64_t count, int64_t width, float* __restrict sums,
                  float* __restrict products) {
  over_columns(
      count, width,
      [&](int64_t j, int64_t end) {
        const Wide middle = load(pivot + j);
        Wide sum = load(sums + j), product = load(products + j);
        for (int64_t i = j; i < end; i += width) {
          const Wide g = load(dy + i);
          sum += g;
          product += g * (load(x + i) - middle);
        }
        store(sums + j, sum);
        store(products + j, product);
      },
      [&](int64_t i, int64_t j) {
        sums[j] += dy[i];
        products[j] += dy[i] * (x[i] - pivot[j]);
      });
}

void scale_columns(const float* x, const float* a, const float* pivot, const float* b, float* y, int64_t count, int64_t width) {
  over_columns(
      count, width,
      [&](int64_t j, int64_t end) {
        const Wide factor = load(a + j), middle = load(pivot + j), shift = load(b + j);
        for (int64_t i = j; i < end; i += width) store(y + i, factor * (load(x + i) - middle) + shift);
      },
      [&](int64_t i, int64_t j) { y[i] = a[j] * (x[i] - pivot[j]) + b[j]; });
}

void combine_columns(const float* dy, const float* x, const float* a, const float* b, const float* pivot, const float* c,
                     float* dx, int64_t count, int64_t width) {
  over_columns(
      count, width,
      [&](int64_t j, int64_t end) {
        const Wide of_dy = load(a + j), of_x = load(b + j), middle = load(pivot + j), shift = load(c + j);
        for (int64_t i = j; i < end; i += width) store(dx + i, of_dy * load(dy + i) + of_x * (load(x + i) - middle) + shift);
      },
      [&](int64_t i, int64_t j) { dx[i] = a[j] * dy[i] + b[j] * (x[i] - pivot[j]) + c[j]; });
}

void sgd(const float* w, const float* g, const float* velocity, float* new_w, float* new_velocity, int64_t count, float rate,
         float momentum, float decay) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) {
    const float v = momentum * velocity[i] + (g[i] + decay * w[i]);
    new_velocity[i] = v;
    new_w[i] = w[i] - rate * v;
  }
}

void adam(const float* w, const float* g, const float* m, const float* v, float* new_w, float* new_m, float* new_v,
          int64_t count, Kernels::Adam settings) {
  const auto [rate, correction, beta1, rest1, beta2, rest2, epsilon, decay, keep] = settings;
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) {
    const float gradient = g[i] + decay * w[i];
    const float first = beta1 * m[i] + rest1 * gradient;
    const float second = beta2 * v[i] + rest2 * gradient * gradient;
    new_m[i] = first;
    new_v[i] = second;
    new_w[i] = keep * w[i] - rate * first / (sqrtf(second) / correction + epsilon);
  }
}

#if defined(__AVX512F__)
constexpr int kDoubles = 8;
#else
constexpr int kDoubles = 4;
#endif
using WideDouble = double __attribute__((vector_size(kDoubles * sizeof(double))));

/** Two registers a row: with a row of b and an element of a, all that AVX2 has. */
constexpr int64_t kTileColumns = 2 * kDoubles;
static_assert(kTileColumns <= kMaxTileColumns);

WideDouble load(const double* x) {
  WideDouble wide;
  __builtin_memcpy(&wide, x, sizeof wide);
  return wide;
}

void multiply_tile(const double* a, const double* b, int64_t count, double* tile) {
  WideDouble left[kTileRows] = {}, right[kTileRows] = {};
  for (int64_t p = 0; p < count; p++, a += kTileRows, b += kTileColumns) {
    const WideDouble first = load(b), second = load(b + kDoubles);
    for (int i = 0; i < kTileRows; i++) {
      left[i] += a[i] * first;
      right[i] += a[i] * second;
    }
  }
  for (int i = 0; i < kTileRows; i++, tile += kTileColumns) {
    __builtin_memcpy(tile, &left[i], sizeof left[i]);
    __builtin_memcpy(tile + kDoubles, &right[i], sizeof right[i]);
  }
}

}  // namespace

const Kernels FROSTBIT_KERNELS = {
    FROSTBIT_ISA,
    binary,
    unary,
    compare,
    combine_conditions,
    choose,
    clip,
    clip_gradient,
    turn_tile,
    random_choice,
    fake_quantize,
    fake_quantize_gradient,
    quantize,
    dequantize,
    rescale,
    quantize_gradient,
    scale_sums,
    widen_bfloat16,
    narrow_bfloat16,
    widen_float16,
    narrow_float16,
    sum_columns,
    sum_moments,
    sum_products,
    scale_columns,
    combine_columns,
    sgd,
    adam,
    kTileColumns,
    multiply_tile,
    &row_kernels,
};

}  // namespace frostbit
