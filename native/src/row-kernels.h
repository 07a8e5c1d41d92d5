// Loops over whole rows and columns of float32, compiled once per instruction set as kernels.h's.
#pragma once
#include <cstdint>

namespace frostbit {

/** Numbered as src/engines/native/lowerings/reduction.ts numbers them. */
enum class Reduction : int64_t { Sum, Mean, Max, Min, SumSquare, L1, L2, Prod, LogSumExp, Count };

/** Whether `RowKernels` reduces by it: partial results may be added up, or the largest or smallest taken. */
inline bool is_vectorized(Reduction op) { return op != Reduction::Prod && op != Reduction::LogSumExp; }

/** Quantizers in a row. */
struct EachQuantizer {
  const float *scale, *zero_point;
  float low, high;
};

struct RowKernels {
  /** softmax x, or its logarithm; x and y may be the same. */
  void (*softmax)(const float* x, float* y, int64_t count, bool is_log);
  /** Mean and 1/√(biased variance + epsilon); where it is not centred, 0 and 1/√(mean square + epsilon). */
  void (*standardize)(const float* x, int64_t count, bool is_centred, double epsilon, float* mean, float* inverse);
  /** y = (x − mean) · inverse · scale[i] + bias[i]; bias may be null; x and y may be the same. */
  void (*scale_row)(const float* x, float mean, float inverse, const float* scale, const float* bias, float* y, int64_t count);
  /** Reduces a row onto `total`, before what ends a mean or a norm. */
  double (*reduce_row)(Reduction op, const float* x, int64_t count, double total);
  /** Reduces each of `width` ≤ kColumns columns, `rows` rows `stride` apart, onto `totals`. */
  void (*reduce_columns)(Reduction op, const float* x, int64_t rows, int64_t stride, int64_t width, double* totals);
  /** A row in which each element has a quantizer of its own. */
  void (*fake_quantize_each)(const float* x, float* y, int64_t count, const EachQuantizer& quantizers);
  /** Codes as 8 bits. Returns whether an x was not a number. */
  bool (*quantize_each)(const float* x, int8_t* y, int64_t count, const EachQuantizer& quantizers);
  /** dx may be null; adds to dscale and dzero. */
  void (*fake_quantize_gradient_each)(const float* dy, const float* x, float* dx, int64_t count,
                                      const EachQuantizer& quantizers, float* dscale, float* dzero);
  /** Codes of 2, 4 or 8 bits as bytes, from the `begin`-th on: the first of a byte in its lowest bits. Bits of `flip` are
   * inverted. */
  void (*unpack)(const uint8_t* x, int64_t begin, int64_t count, int64_t bits, uint8_t flip, uint8_t* y);
  /** y = (x − zero) · scale, each with its own. */
  void (*dequantize_each)(const uint8_t* x, float* y, int64_t count, const float* zero, const float* scale);
  /** sums += dy · (x − zero) */
  void (*add_dequantize_gradient_each)(const float* dy, const uint8_t* x, int64_t count, const float* zero, float* sums);
  /** total + Σ dy · (x − zero) */
  double (*dequantize_gradient)(const float* dy, const uint8_t* x, int64_t count, float zero, double total);
  /**
   * A query's scores of some keys become exp(scale · x + mask − largest); mask may be null. `largest` becomes the largest of it
   * and these; where that is −infinity nothing is subtracted. Returns the sum. They go to `rounded` as bfloat16 instead where
   * it is not null; it may begin where x does, or before.
   */
  double (*attend)(float* x, uint16_t* rounded, const float* mask, int64_t count, float scale, float* largest);
  /**
   * x: scores, then p = exp(scale · x + mask − largest) · factor; dp: gradients of p, then those of x, p · (dp − mean) · scale.
   * None of the scores may be larger than the largest. Both may go elsewhere as those of `attend`.
   */
  void (*attend_gradient)(float* x, uint16_t* rounded, float* dp, uint16_t* rounded_dp, const float* mask, int64_t count,
                          float scale, float largest, float factor, float mean);
};

constexpr int64_t kColumns = 64;

}  // namespace frostbit
