// Elementary functions that compilers turn into vector code: no calls, no branches. Included by kernels.cpp alone.
#pragma once
#include <stdint.h>

namespace frostbit {
namespace {

inline float float_of_bits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t bits_of_float(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

/** Within 2 units in the last place; 0 and infinity beyond the normal range. Coefficients: Cephes' expf. */
inline float exp_of(float v) {
  constexpr float lowest = -87.33654f, highest = 88.72283f;
  // Adding 1.5 · 2^23 rounds to a whole number, which the lowest bits of the sum then hold.
  constexpr float shift = 12582912.0f;
  const float raised = v < lowest ? lowest : v;
  const float x = raised > highest ? highest : raised;
  const float shifted = x * 1.44269504f + shift;
  const float n = shifted - shift;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float y = p * r * r + r + 1.0f;
  const int32_t power = static_cast<int32_t>(bits_of_float(shifted) - bits_of_float(shift));
  const int32_t half = power >> 1;
  // Two factors, as 2^128 is no float.
  const float scaled = y * float_of_bits(static_cast<uint32_t>(half + 127) << 23) *
                       float_of_bits(static_cast<uint32_t>(power - half + 127) << 23);
  const float kept = v < lowest ? 0.0f : scaled;
  return v > highest ? __builtin_inff() : kept;
}

/**
 * exp v for v ≤ 0 with half of the operations of exp_of: a relative error below (3 + 2 |v|) / 2^24, which for exponentials of
 * differences of float32 scores is what these bring. Coefficients: Cephes' exp2f.
 */
inline float exp_of_negative(float v) {
  constexpr float lowest = -87.33654f, shift = 12582912.0f;
  const float x = (v < lowest ? lowest : v) * 1.44269504f;
  const float shifted = x + shift;
  const float r = x - (shifted - shift);
  float p = 1.5353362e-4f;
  p = p * r + 1.3398874e-3f;
  p = p * r + 9.6184374e-3f;
  p = p * r + 5.5503325e-2f;
  p = p * r + 2.4022648e-1f;
  p = p * r + 6.9314720e-1f;
  p = p * r + 1.0f;
  // The whole number in the lowest bits of the sum goes to the exponent.
  const float y = float_of_bits(bits_of_float(p) + (bits_of_float(shifted) << 23));
  return v < lowest ? 0.0f : y;
}

/** Within 2 units in the last place; denormals are 0. Coefficients: Cephes' logf. */
inline float log_of(float v) {
  // The least factor, the root of 1/2, makes the exponent the nearest one.
  constexpr uint32_t least = 0x3f3504f3;
  const uint32_t bits = bits_of_float(v);
  const int32_t exponent = static_cast<int32_t>(bits - least) >> 23;
  const float n = static_cast<float>(exponent);
  const float r = float_of_bits(bits - (static_cast<uint32_t>(exponent) << 23)) - 1.0f, r2 = r * r;
  float p = 7.0376836292e-2f;
  p = p * r - 1.1514610310e-1f;
  p = p * r + 1.1676998740e-1f;
  p = p * r - 1.2420140846e-1f;
  p = p * r + 1.4249322787e-1f;
  p = p * r - 1.6668057665e-1f;
  p = p * r + 2.0000714765e-1f;
  p = p * r - 2.4999993993e-1f;
  p = p * r + 3.3333331174e-1f;
  const float y = (r + (p * r * r2 - n * 2.12194440e-4f - 0.5f * r2)) + n * 0.693359375f;
  const float finite = v < 1.17549435e-38f ? -__builtin_inff() : y;
  const float positive = v > 3.40282347e38f ? v : finite;
  return v >= 0 ? positive : __builtin_nanf("");
}

inline float sigmoid_of(float v) { return 1.0f / (1.0f + exp_of(-v)); }

inline float clamped(float v, float limit) {
  const float raised = v < -limit ? -limit : v;
  return raised > limit ? limit : raised;
}

/** Rational minimax approximation, as Eigen's ptanh; ±1 beyond ±7.9. */
inline float tanh_of(float v) {
  const float x = clamped(v, 7.90531110763549805f), x2 = x * x;
  float p = -2.76076847742355e-16f;
  p = p * x2 + 2.00018790482477e-13f;
  p = p * x2 - 8.60467152213735e-11f;
  p = p * x2 + 5.12229709037114e-08f;
  p = p * x2 + 1.48572235717979e-05f;
  p = p * x2 + 6.37261928875436e-04f;
  p = p * x2 + 4.89352455891786e-03f;
  float q = 1.19825839466702e-06f;
  q = q * x2 + 1.18534705686654e-04f;
  q = q * x2 + 2.26843463243900e-03f;
  q = q * x2 + 4.89352518554385e-03f;
  const float y = x * p / q;
  return y > 1.0f ? 1.0f : y < -1.0f ? -1.0f : y;
}

/** e^v − 1 of v ≤ 1, by the hyperbolic tangent of half of v. */
inline float expm1_below_one(float v) {
  const float t = tanh_of(0.5f * v);
  return 2.0f * t / (1.0f - t);
}

inline float expm1_of(float v) { return v > 1.0f ? exp_of(v) - 1.0f : expm1_below_one(v); }

/** log(1 + e^v); log(1 + u) of u ≤ 1 is twice the inverse hyperbolic tangent of u / (2 + u), by its series. */
inline float softplus_of(float v) {
  const float u = exp_of(v > 0 ? -v : v), s = u / (2.0f + u), s2 = s * s;
  float p = 1.0f / 15;
  p = p * s2 + 1.0f / 13;
  p = p * s2 + 1.0f / 11;
  p = p * s2 + 1.0f / 9;
  p = p * s2 + 1.0f / 7;
  p = p * s2 + 1.0f / 5;
  p = p * s2 + 1.0f / 3;
  p = p * s2 + 1.0f;
  return (v > 0 ? v : 0.0f) + 2.0f * s * p;
}

/** Rational minimax approximation, as Eigen's perf; ±1 beyond ±4. */
inline float erf_of(float v) {
  const float x = clamped(v, 4.0f), x2 = x * x;
  float p = -2.72614225801306e-10f;
  p = p * x2 + 2.77068142495902e-08f;
  p = p * x2 - 2.10102402082508e-06f;
  p = p * x2 - 5.69250639462346e-05f;
  p = p * x2 - 7.34990630326855e-04f;
  p = p * x2 - 2.95459980854025e-03f;
  p = p * x2 - 1.60960333262415e-02f;
  float q = -1.45660718464996e-05f;
  q = q * x2 - 2.13374055278905e-04f;
  q = q * x2 - 1.68282697438203e-03f;
  q = q * x2 - 7.37332916720468e-03f;
  q = q * x2 - 1.42647390514189e-02f;
  const float y = x * p / q;
  return y > 1.0f ? 1.0f : y < -1.0f ? -1.0f : y;
}

inline float gelu_of(float v) { return 0.5f * v * (1.0f + erf_of(v * 0.70710678f)); }

inline float gelu_tanh_of(float v) { return 0.5f * v * (1.0f + tanh_of(0.79788456f * (v + 0.044715f * v * v * v))); }

/** v · tanh(log(1 + eᵛ)), where tanh log(1 + e) = n / (n + 2) with n = e (e + 2). */
inline float mish_of(float v) {
  const float e = exp_of(v > 20.0f ? 20.0f : v), n = e * (e + 2.0f);
  return v > 20.0f ? v : v * (n / (n + 2.0f));
}

}  // namespace
}  // namespace frostbit
