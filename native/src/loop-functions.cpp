#include "loop-functions.h"

namespace frostbit {
namespace {

using Value = LoopMaker::Value;

/** From the highest power's coefficient on. */
Value polynomial(LoopMaker& loop, Value x, std::initializer_list<float> coefficients) {
  Value p = -1;
  for (const float each : coefficients) {
    const Value coefficient = loop.literal(each);
    p = p < 0 ? coefficient : loop.multiply_add(p, x, coefficient);
  }
  return p;
}

/** What is no number stays none. */
Value clamped(LoopMaker& loop, Value v, float limit) {
  return loop.less(loop.literal(limit), loop.greater(loop.literal(-limit), v));
}

/** 0.5 v (1 + y) */
Value half_of(LoopMaker& loop, Value v, Value y) {
  return loop.multiply(loop.multiply(loop.literal(0.5f), v), loop.add(loop.literal(1.0f), y));
}

}  // namespace

Value exp_in(LoopMaker& loop, Value v) {
  constexpr float lowest = -87.33654f, highest = 88.72283f, shift = 12582912.0f;
  const Value x = loop.less(loop.literal(highest), loop.greater(loop.literal(lowest), v));
  const Value shifted = loop.multiply_add(x, loop.literal(1.44269504f), loop.literal(shift));
  const Value n = loop.subtract(shifted, loop.literal(shift));
  const Value near = loop.multiply_add(n, loop.literal(-0.693359375f), x);
  const Value r = loop.multiply_add(n, loop.literal(2.12194440e-4f), near);
  const Value p = polynomial(
      loop, r, {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f});
  const Value y = loop.add(loop.multiply_add(loop.multiply(p, r), r, r), loop.literal(1.0f));
  const Value scaled = loop.times_power_of_two(y, n);
  const Value kept = loop.choose(loop.is_less(v, loop.literal(lowest)), loop.literal(0.0f), scaled);
  return loop.choose(loop.is_greater(v, loop.literal(highest)), loop.literal(__builtin_inff()), kept);
}

Value sigmoid_in(LoopMaker& loop, Value v) {
  const Value one = loop.literal(1.0f);
  return loop.divide(one, loop.add(one, exp_in(loop, loop.negative(v))));
}

Value tanh_in(LoopMaker& loop, Value v) {
  const Value x = clamped(loop, v, 7.90531110763549805f), x2 = loop.multiply(x, x);
  const Value p = polynomial(loop, x2,
                             {-2.76076847742355e-16f, 2.00018790482477e-13f, -8.60467152213735e-11f, 5.12229709037114e-08f,
                              1.48572235717979e-05f, 6.37261928875436e-04f, 4.89352455891786e-03f});
  const Value q =
      polynomial(loop, x2, {1.19825839466702e-06f, 1.18534705686654e-04f, 2.26843463243900e-03f, 4.89352518554385e-03f});
  return clamped(loop, loop.divide(loop.multiply(x, p), q), 1.0f);
}

Value erf_in(LoopMaker& loop, Value v) {
  const Value x = clamped(loop, v, 4.0f), x2 = loop.multiply(x, x);
  const Value p = polynomial(loop, x2,
                             {-2.72614225801306e-10f, 2.77068142495902e-08f, -2.10102402082508e-06f, -5.69250639462346e-05f,
                              -7.34990630326855e-04f, -2.95459980854025e-03f, -1.60960333262415e-02f});
  const Value q = polynomial(
      loop, x2,
      {-1.45660718464996e-05f, -2.13374052778905e-04f, -1.68282697438203e-03f, -7.37332916720468e-03f, -1.42647390514189e-02f});
  return clamped(loop, loop.divide(loop.multiply(x, p), q), 1.0f);
}

Value gelu_in(LoopMaker& loop, Value v) { return half_of(loop, v, erf_in(loop, loop.multiply(v, loop.literal(0.70710678f)))); }

Value gelu_tanh_in(LoopMaker& loop, Value v) {
  const Value cube = loop.multiply(loop.multiply(loop.literal(0.044715f), v), v);
  const Value inner = loop.multiply(loop.literal(0.79788456f), loop.multiply_add(cube, v, v));
  return half_of(loop, v, tanh_in(loop, inner));
}

}  // namespace frostbit
