// The loops of attention over a query's scores, sixteen at a time. Included by kernels.cpp alone, which says what may be used
// here.
#pragma once

namespace frostbit {
namespace {

/** As that of one element. */
Wide exp_of_negative(Wide v) {
  constexpr float lowest = -87.33654f, shift = 12582912.0f;
  const WideInt is_low = v < lowest;
  const Wide x = (is_low ? Wide{} + lowest : v) * 1.44269504f;
  const Wide shifted = x + shift;
  const Wide r = x - (shifted - shift);
  Wide p = r * 1.5353362e-4f + 1.3398874e-3f;
  p = p * r + 9.6184374e-3f;
  p = p * r + 5.5503325e-2f;
  p = p * r + 2.4022648e-1f;
  p = p * r + 6.9314720e-1f;
  p = p * r + 1.0f;
  return is_low ? Wide{} : (Wide)((WideBits)p + ((WideBits)shifted << 23));
}

/** Scores as they are before their exponentials. */
struct Scores {
  const float *x, *mask;
  float scale;

  Wide wide(int64_t i) const { return mask ? load(x + i) * scale + load(mask + i) : load(x + i) * scale; }
  float one(int64_t i) const { return mask ? x[i] * scale + mask[i] : x[i] * scale; }
};

/** Sixteen elements and single ones, as they are or as bfloat16. */
struct Written {
  float* x;
  uint16_t* rounded;

  void put(int64_t i, Wide wide) const {
    if (!rounded) return store(x + i, wide);
#if defined(__AVX512BF16__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(rounded + i), (__m256i)_mm512_cvtneps_pbh(wide));
#else
    float lanes[kWide];
    store(lanes, wide);
    narrow_bfloat16(lanes, rounded + i, kWide);
#endif
  }
  void put(int64_t i, float value) const {
    if (rounded)
      narrow_bfloat16(&value, rounded + i, 1);
    else
      x[i] = value;
  }
};

/** What is no number is passed over: its exponential is none either. */
float largest_of(const Scores& scores, int64_t count, float most) {
  const int64_t whole = count / kWide * kWide;
  Wide wide[2] = {Wide{} + most, Wide{} + most};
  for (int64_t i = 0; i < whole; i += kWide) {
    Wide& so_far = wide[i / kWide % 2];
    const Wide score = scores.wide(i);
    so_far = score > so_far ? score : so_far;
  }
  float lanes[kWide];
  store(lanes, wide[0] > wide[1] ? wide[0] : wide[1]);
  for (int half = kWide / 2; half > 0; half /= 2)
    for (int j = 0; j < half; j++) lanes[j] = lanes[j + half] > lanes[j] ? lanes[j + half] : lanes[j];
  for (int64_t i = whole; i < count; i++) lanes[0] = scores.one(i) > lanes[0] ? scores.one(i) : lanes[0];
  return lanes[0];
}

double attend(float* x, uint16_t* rounded, const float* mask, int64_t count, float scale, float* largest) {
  const int64_t whole = count / kWide * kWide;
  const Scores scores{x, mask, scale};
  const Written written{x, rounded};
  *largest = largest_of(scores, count, *largest);
  const float base = *largest == -__builtin_inff() ? 0.0f : *largest;
  Wide sums{};
  for (int64_t i = 0; i < whole; i += kWide) {
    const Wide e = exp_of_negative(scores.wide(i) - base);
    sums += e;
    written.put(i, e);
  }
  float lanes[kWide];
  store(lanes, sums);
  double total = 0;
  for (int64_t i = whole; i < count; i++) {
    const float e = exp_of_negative(scores.one(i) - base);
    total += static_cast<double>(e);
    written.put(i, e);
  }
  for (int half = kWide / 2; half > 1; half /= 2)
    for (int j = 0; j < half; j++) lanes[j] += lanes[j + half];
  return total + (static_cast<double>(lanes[0]) + static_cast<double>(lanes[1]));
}

void attend_gradient(float* x, uint16_t* rounded, float* dp, uint16_t* rounded_dp, const float* mask, int64_t count,
                     float scale, float largest, float factor, float mean) {
  const int64_t whole = count / kWide * kWide;
  const Scores scores{x, mask, scale};
  const Written p_written{x, rounded}, dp_written{dp, rounded_dp};
  for (int64_t i = 0; i < whole; i += kWide) {
    const Wide p = exp_of_negative(scores.wide(i) - largest) * factor;
    const Wide ds = p * (load(dp + i) - mean) * scale;
    p_written.put(i, p);
    dp_written.put(i, ds);
  }
  for (int64_t i = whole; i < count; i++) {
    const float p = exp_of_negative(scores.one(i) - largest) * factor;
    const float ds = p * (dp[i] - mean) * scale;
    p_written.put(i, p);
    dp_written.put(i, ds);
  }
}

}  // namespace
}  // namespace frostbit
