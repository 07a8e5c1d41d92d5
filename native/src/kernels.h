// Loops over contiguous float32, compiled once per instruction set and chosen when the program runs.
#pragma once
#include <cstdint>

#include "row-kernels.h"

namespace frostbit {

/** Numbered as src/engines/native/lowerings/elementwise.ts numbers them. */
enum class Binary : int64_t { Add, Sub, Mul, Div, Max, Min, Pow, ReluGradient, PRelu, Mod, FMod, Count };
enum class Unary : int64_t {
  Relu,
  Neg,
  Abs,
  Exp,
  Log,
  Sqrt,
  Reciprocal,
  Sigmoid,
  Tanh,
  Erf,
  Floor,
  Ceil,
  Round,
  Sign,
  HardSigmoid,
  HardSwish,
  LeakyRelu,
  Elu,
  Softplus,
  Softsign,
  Sin,
  Cos,
  Copy,
  Gelu,
  GeluTanh,
  Mish,
  Selu,
  Celu,
  ThresholdedRelu,
  Shrink,
  Tan,
  Asin,
  Acos,
  Atan,
  Sinh,
  Cosh,
  Asinh,
  Acosh,
  Atanh,
  Count
};

enum class Comparison : int64_t { Equal, Greater, GreaterOrEqual, Less, LessOrEqual, And, Or, Xor, Count };

/** Which operand of a binary loop is one element for all. */
enum class Repeat { None, Right, Left };

struct Quantizer {
  float scale, zero_point, low, high;
};

/** The quantizer's integer that is nearest to a zero point, ties to even; none stays none. */
inline float rounded_zero_point(float zero_point, float low, float high) {
  const float rounded = __builtin_nearbyintf(zero_point);
  return rounded < low ? low : rounded > high ? high : rounded;
}

/** From the seed of an element to that of the next one. */
constexpr uint32_t kElementStep = 0x9e3779b1u;
/** Murmur3's last mixing of a seed: b ^= b >> 16, b *= the first, b ^= b >> 13, b *= the second, b ^= b >> 16. */
constexpr uint32_t kMixing[] = {0x85ebca6bu, 0xc2b2ae35u};

/**
 * Which elements of y are a's: those whose bits are below the limit. The first is the one at `begin` of images of `channels`
 * planes, channels last; bits go by where an element lies row-major.
 */
struct RandomPlaces {
  uint32_t counter, limit;
  int64_t begin, channels, plane;
};

struct Kernels {
  const char* name;
  void (*binary)(Binary op, Repeat repeat, const float* a, const float* b, float* y, int64_t count);
  void (*unary)(Unary op, const float* x, float* y, int64_t count, float alpha, float beta);
  /** One byte per element. */
  void (*compare)(Comparison op, Repeat repeat, const float* a, const float* b, uint8_t* y, int64_t count);
  /** And, Or or Xor. */
  void (*combine_conditions)(Comparison op, const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t count);
  /** y = a where the condition holds, else b; each of both is by element, or one for all. */
  void (*choose)(const uint8_t* condition, const float* a, const float* b, bool a_is_one, bool b_is_one, float* y,
                 int64_t count);
  void (*clip)(const float* x, float* y, int64_t count, float low, float high);
  /** dx = dy, but 0 where x is outside the bounds. */
  void (*clip_gradient)(const float* dy, const float* x, float* dx, int64_t count, float low, float high);
  /** y[j, i] = x[i, j] for at most 16 rows and columns of 32 bits each; rows of each are so many elements apart. */
  void (*turn_tile)(const uint32_t* x, int64_t x_step, uint32_t* y, int64_t y_step, int64_t rows, int64_t columns);
  /** y = a or b, as is drawn; null counts as 0. */
  void (*random_choice)(const float* a, const float* b, float* y, int64_t count, RandomPlaces places);
  void (*fake_quantize)(const float* x, float* y, int64_t count, Quantizer quantizer);
  /** dx may be null; adds to `sums`: dscale and dzeroPoint. */
  void (*fake_quantize_gradient)(const float* dy, const float* x, float* dx, int64_t count, Quantizer quantizer, double* sums);
  /** Codes above `low`: q − low, at most 255. Returns whether an x was not a number. */
  bool (*quantize)(const float* x, uint8_t* y, int64_t count, Quantizer quantizer);
  /** y = (x − zero) · scale */
  void (*dequantize)(const uint8_t* x, float* y, int64_t count, float zero, float scale);
  /** y = x · factors[j] + bias[j] */
  void (*rescale)(const int32_t* x, const float* factors, const float* bias, float* y, int64_t count, int64_t width);
  /**
   * Codes of the bfloat16 x · factors[i] around 128, in steps of a 127th of the largest magnitude, to the nearest, ties to
   * even. Returns the step: none where a product is no finite number, 0 where all are smaller than float32's normal numbers.
   */
  float (*quantize_gradient)(const uint16_t* x, const float* factors, uint8_t* y, int64_t count);
  /** y = x · factor */
  void (*scale_sums)(const int32_t* x, float* y, int64_t count, float factor);
  void (*widen_bfloat16)(const uint16_t* x, float* y, int64_t count);
  void (*narrow_bfloat16)(const float* x, uint16_t* y, int64_t count);
  void (*widen_float16)(const uint16_t* x, float* y, int64_t count);
  void (*narrow_float16)(const float* x, uint16_t* y, int64_t count);
  /** sums[j] += x[i · width + j] */
  void (*sum_columns)(const float* x, int64_t count, int64_t width, float* sums);
  /** With d = x − pivot[j]: sums[j] += d, squares[j] += d² */
  void (*sum_moments)(const float* x, const float* pivot, int64_t count, int64_t width, float* sums, float* squares);
  /** sums[j] += dy, products[j] += dy · (x − pivot[j]) */
  void (*sum_products)(const float* dy, const float* x, const float* pivot, int64_t count, int64_t width, float* sums,
                       float* products);
  /** y = a[j] · (x − pivot[j]) + b[j] */
  void (*scale_columns)(const float* x, const float* a, const float* pivot, const float* b, float* y, int64_t count,
                        int64_t width);
  /** dx = a[j] · dy + b[j] · (x − pivot[j]) + c[j] */
  void (*combine_columns)(const float* dy, const float* x, const float* a, const float* b, const float* pivot, const float* c,
                          float* dx, int64_t count, int64_t width);
  void (*sgd)(const float* w, const float* g, const float* velocity, float* new_w, float* new_velocity, int64_t count,
              float rate, float momentum, float decay);
  struct Adam {
    /** rest1 and rest2 are 1 − beta1 and 1 − beta2, which float32 cannot subtract; keep is what decoupled decay leaves of w. */
    float rate, correction, beta1, rest1, beta2, rest2, epsilon, decay, keep;
  };
  void (*adam)(const float* w, const float* g, const float* m, const float* v, float* new_w, float* new_m, float* new_v,
               int64_t count, Adam settings);
  /** Columns of what `multiply_tile` makes, of kTileRows rows. */
  int64_t tile_columns;
  /** tile[i, j] = Σ a[p, i] · b[p, j] over `count` of p, each row of a and b as wide as the tile is high and wide. */
  void (*multiply_tile)(const double* a, const double* b, int64_t count, double* tile);
  const RowKernels* rows;
};

constexpr int64_t kTileRows = 6;
/** No kernels' tile_columns are more. */
constexpr int64_t kMaxTileColumns = 16;

/** For the best instruction set that the processor has and FROSTBIT_MAX_CPU_ISA (generic, avx2, avx512) allows. */
const Kernels& best_kernels();

extern const Kernels kernels_generic;
#if defined(__x86_64__)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
extern const Kernels kernels_avx512_bf16;
#endif

}  // namespace frostbit
