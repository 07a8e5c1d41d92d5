// The loops of row-kernels.h. Included by kernels.cpp alone, which says what may be used here.
#pragma once
#include "row-kernels.h"
#include "vector-math.h"

namespace frostbit {
namespace {

/** Partial results per row, and how many elements each takes in before it joins a double. */
constexpr int64_t kRowLanes = 64, kRowBlock = 64 * kRowLanes;

/** Joins lanes two by two: 16 of them in double. */
template <class Join>
double join_lanes(float (&lanes)[kRowLanes], double total, Join join) {
  constexpr int64_t wide = 16;
  for (int64_t half = kRowLanes / 2; half >= wide; half /= 2) FROSTBIT_LOOP
  for (int64_t j = 0; j < half; j++) lanes[j] = join(lanes[j], lanes[j + half]);
  double parts[wide];
  for (int64_t j = 0; j < wide; j++) parts[j] = static_cast<double>(lanes[j]);
  for (int64_t half = wide / 2; half > 0; half /= 2) FROSTBIT_LOOP
  for (int64_t j = 0; j < half; j++) parts[j] = join(parts[j], parts[j + half]);
  return join(total, parts[0]);
}

/** Folds `term` of a row into lanes, and the lanes into a double, by `join`. */
template <class Term, class Join>
double fold_row(const float* x, int64_t count, float start, double total, Term term, Join join) {
  for (int64_t block = 0; block < count; block += kRowBlock) {
    const int64_t size = count - block < kRowBlock ? count - block : kRowBlock;
    const int64_t whole = size / kRowLanes * kRowLanes;
    const float* values = x + block;
    float lanes[kRowLanes];
    for (int64_t j = 0; j < kRowLanes; j++) lanes[j] = start;
    for (int64_t i = 0; i < whole; i += kRowLanes) FROSTBIT_LOOP
    for (int64_t j = 0; j < kRowLanes; j++) lanes[j] = join(lanes[j], term(values[i + j]));
    for (int64_t i = whole; i < size; i++) lanes[i - whole] = join(lanes[i - whole], term(values[i]));
    total = join_lanes(lanes, total, join);
  }
  return total;
}

struct Plus {
  template <class T>
  T operator()(T a, T b) const {
    return a + b;
  }
};
/** What is not a number stays. */
struct Larger {
  template <class T>
  T operator()(T a, T b) const {
    return b > a || b != b ? b : a;
  }
};
struct Smaller {
  template <class T>
  T operator()(T a, T b) const {
    return b < a || b != b ? b : a;
  }
};

double reduce_row(Reduction op, const float* x, int64_t count, double total) {
  const auto same = [](float v) { return v; };
  switch (op) {
    case Reduction::Max: return fold_row(x, count, -__builtin_inff(), total, same, Larger());
    case Reduction::Min: return fold_row(x, count, __builtin_inff(), total, same, Smaller());
    case Reduction::L1:
      return fold_row(
          x, count, 0.0f, total, [](float v) { return fabsf(v); }, Plus());
    case Reduction::L2:
    case Reduction::SumSquare:
      return fold_row(
          x, count, 0.0f, total, [](float v) { return v * v; }, Plus());
    default: return fold_row(x, count, 0.0f, total, same, Plus());
  }
}

template <class Term, class Join>
void fold_columns(const float* x, int64_t rows, int64_t stride, int64_t width, float start, double* totals, Term term,
                  Join join) {
  constexpr int64_t block = 64;
  for (int64_t first = 0; first < rows; first += block) {
    const int64_t last = rows - first < block ? rows : first + block;
    float lanes[kColumns];
    for (int64_t j = 0; j < kColumns; j++) lanes[j] = start;
    for (int64_t i = first; i < last; i++) {
      const float* values = x + i * stride;
      FROSTBIT_LOOP
      for (int64_t j = 0; j < width; j++) lanes[j] = join(lanes[j], term(values[j]));
    }
    for (int64_t j = 0; j < width; j++) totals[j] = join(totals[j], static_cast<double>(lanes[j]));
  }
}

void reduce_columns(Reduction op, const float* x, int64_t rows, int64_t stride, int64_t width, double* totals) {
  const auto same = [](float v) { return v; };
  switch (op) {
    case Reduction::Max: return fold_columns(x, rows, stride, width, -__builtin_inff(), totals, same, Larger());
    case Reduction::Min: return fold_columns(x, rows, stride, width, __builtin_inff(), totals, same, Smaller());
    case Reduction::L1:
      return fold_columns(
          x, rows, stride, width, 0.0f, totals, [](float v) { return fabsf(v); }, Plus());
    case Reduction::L2:
    case Reduction::SumSquare:
      return fold_columns(
          x, rows, stride, width, 0.0f, totals, [](float v) { return v * v; }, Plus());
    default: return fold_columns(x, rows, stride, width, 0.0f, totals, same, Plus());
  }
}

void softmax_row(const float* x, float* y, int64_t count, bool is_log) {
  const float largest = static_cast<float>(reduce_row(Reduction::Max, x, count, -__builtin_inf()));
  if (is_log) {
    const double sum = fold_row(
        x, count, 0.0f, 0.0, [=](float v) { return exp_of(v - largest); }, Plus());
    const float logarithm = static_cast<float>(log(sum));
    FROSTBIT_LOOP
    for (int64_t i = 0; i < count; i++) y[i] = (x[i] - largest) - logarithm;
    return;
  }
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) y[i] = exp_of(x[i] - largest);
  const float factor = static_cast<float>(1 / reduce_row(Reduction::Sum, y, count, 0.0));
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) y[i] *= factor;
}

void standardize(const float* x, int64_t count, bool is_centred, double epsilon, float* mean, float* inverse) {
  const double size = static_cast<double>(count);
  const float centre = is_centred ? static_cast<float>(reduce_row(Reduction::Sum, x, count, 0.0) / size) : 0.0f;
  const double squares = fold_row(
      x, count, 0.0f, 0.0, [=](float v) { return (v - centre) * (v - centre); }, Plus());
  *mean = centre;
  *inverse = static_cast<float>(1 / sqrt(squares / size + epsilon));
}

void scale_row(const float* x, float mean, float inverse, const float* scale, const float* bias, float* y, int64_t count) {
  if (bias) {
    FROSTBIT_LOOP
    for (int64_t i = 0; i < count; i++) y[i] = (x[i] - mean) * inverse * scale[i] + bias[i];
    return;
  }
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) y[i] = (x[i] - mean) * inverse * scale[i];
}

void fake_quantize_each(const float* x, float* y, int64_t count, const EachQuantizer& quantizers) {
  const auto [scale, zero_point, low, high] = quantizers;
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) {
    const float v = rintf(x[i] / scale[i]) + zero_point[i];
    const float raised = v < low ? low : v;
    const float q = raised > high ? high : raised;
    y[i] = (q - zero_point[i]) * scale[i];
  }
}

bool quantize_each(const float* x, int8_t* y, int64_t count, const EachQuantizer& quantizers) {
  const auto [scale, zero_point, low, high] = quantizers;
  int is_odd = 0;
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) {
    const float v = rintf(x[i] / scale[i]) + zero_point[i];
    const float raised = v > low ? v : low;
    y[i] = static_cast<int8_t>(static_cast<int32_t>(raised > high ? high : raised));
    is_odd |= x[i] != x[i];
  }
  return is_odd != 0;
}

void fake_quantize_gradient_each(const float* dy, const float* x, float* dx, int64_t count, const EachQuantizer& quantizers,
                                 float* __restrict dscale, float* __restrict dzero) {
  const auto [scale, zero_point, low, high] = quantizers;
  const auto term = [=](int64_t i, float& ds, float& dz) {
    const float quotient = x[i] / scale[i];
    const float v = rintf(quotient) + zero_point[i];
    const bool is_low = v<low, is_high = v> high;
    const float inside = v - zero_point[i] - quotient;
    ds += dy[i] * (is_low ? low - zero_point[i] : is_high ? high - zero_point[i] : inside);
    dz -= is_low || is_high ? dy[i] * scale[i] : 0.0f;
    return is_low || is_high ? 0.0f : dy[i];
  };
  if (dx) {
    FROSTBIT_LOOP
    for (int64_t i = 0; i < count; i++) dx[i] = term(i, dscale[i], dzero[i]);
    return;
  }
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) term(i, dscale[i], dzero[i]);
}

template <int bits>
void unpack_bytes(const uint8_t* x, int64_t bytes, uint8_t flip, uint8_t* y) {
  constexpr int places = 8 / bits;
  constexpr uint8_t mask = (1 << bits) - 1;
  FROSTBIT_LOOP
  for (int64_t i = 0; i < bytes; i++)
    for (int j = 0; j < places; j++) y[places * i + j] = ((x[i] >> (bits * j)) & mask) ^ flip;
}

void unpack(const uint8_t* x, int64_t begin, int64_t count, int64_t bits, uint8_t flip, uint8_t* y) {
  const int64_t places = 8 / bits, end = begin + count, mask = (1 << bits) - 1;
  const auto one = [&](int64_t i) {
    y[i - begin] = static_cast<uint8_t>(((x[i / places] >> (bits * (i % places))) & mask) ^ flip);
  };
  int64_t at = begin;
  while (at < end && at % places != 0) one(at++);
  const int64_t bytes = (end - at) / places;
  const uint8_t* from = x + at / places;
  uint8_t* to = y + (at - begin);
  if (bits == 2) unpack_bytes<2>(from, bytes, flip, to);
  if (bits == 4) unpack_bytes<4>(from, bytes, flip, to);
  if (bits == 8) unpack_bytes<8>(from, bytes, flip, to);
  for (at += bytes * places; at < end; at++) one(at);
}

void dequantize_each(const uint8_t* x, float* y, int64_t count, const float* zero, const float* scale) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) y[i] = (static_cast<float>(x[i]) - zero[i]) * scale[i];
}

void add_dequantize_gradient_each(const float* dy, const uint8_t* x, int64_t count, const float* zero, float* __restrict sums) {
  FROSTBIT_LOOP
  for (int64_t i = 0; i < count; i++) sums[i] += dy[i] * (static_cast<float>(x[i]) - zero[i]);
}

double dequantize_gradient(const float* dy, const uint8_t* x, int64_t count, float zero, double total) {
  const int64_t whole = count / kRowLanes * kRowLanes;
  float lanes[kRowLanes] = {};
  for (int64_t i = 0; i < whole; i += kRowLanes) FROSTBIT_LOOP
  for (int64_t j = 0; j < kRowLanes; j++) lanes[j] += dy[i + j] * (static_cast<float>(x[i + j]) - zero);
  for (int64_t i = whole; i < count; i++) lanes[i - whole] += dy[i] * (static_cast<float>(x[i]) - zero);
  return join_lanes(lanes, total, Plus());
}

// Those of attention-loops.h.
double attend(float* x, uint16_t* rounded, const float* mask, int64_t count, float scale, float* largest);
void attend_gradient(float* x, uint16_t* rounded, float* dp, uint16_t* rounded_dp, const float* mask, int64_t count,
                     float scale, float largest, float factor, float mean);

const RowKernels row_kernels = {
    softmax_row,
    standardize,
    scale_row,
    reduce_row,
    reduce_columns,
    fake_quantize_each,
    quantize_each,
    fake_quantize_gradient_each,
    unpack,
    dequantize_each,
    add_dequantize_gradient_each,
    dequantize_gradient,
    attend,
    attend_gradient,
};

}  // namespace
}  // namespace frostbit
