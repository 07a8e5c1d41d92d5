// Numbers as they are stored: quantized to integers of 4 to 32 bits, and back.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "steps.h"

namespace frostbit {
namespace {

constexpr int64_t kUnit = 16;

/** Elements side by side: they share the scale at `scale`, or that is the first one's. */
struct ScaleRun {
  int64_t begin, count, scale;
};

/** Which scale each element has: x is [outer, size, inner], and `block` indices of `size` share one. */
struct Scales {
  int64_t outer, size, inner, block, blocks;
  /** Whether every inner position has a scale of its own, as blocks have. */
  bool is_blocked;

  explicit Scales(Arguments& arguments)
      : outer(arguments.size()),
        size(arguments.size()),
        inner(arguments.size()),
        block(arguments.size()),
        is_blocked(block > 0) {
    blocks = is_blocked ? (size + block - 1) / block : size;
  }

  int64_t elements() const { return outer * size * inner; }
  int64_t count() const { return is_blocked ? product({outer, blocks, inner}) : size; }
  int64_t of(int64_t i) const {
    const int64_t row = i / inner % size;
    return is_blocked ? (i / inner / size * blocks + row / block) * inner + i % inner : row;
  }

  /** Whether the elements of a run have a scale each. */
  bool has_each() const { return is_blocked == (inner > 1); }
  int64_t runs() const { return inner > 1 ? outer * size : is_blocked ? outer * blocks : outer; }
  ScaleRun run(int64_t i) const {
    if (inner > 1) return {i * inner, inner, is_blocked ? (i / size * blocks + i % size / block) * inner : i % size};
    if (!is_blocked) return {i * size, size, 0};
    const int64_t g = i % blocks;
    return {i / blocks * size + g * block, std::min(block, size - g * block), i};
  }
};

/** y = saturate(round(x / scale) + zeroPoint) */
template <class T>
class QuantizeStep : public Step {
 public:
  QuantizeStep(Arguments& arguments, CompileContext&)
      : scales_(arguments), low_(arguments.precise()), high_(arguments.precise()) {
    x_ = arguments.place<float>(scales_.outer, scales_.size, scales_.inner);
    scale_ = arguments.place<float>(scales_.count());
    zero_point_ = arguments.optional<T>(scales_.count());
    y_ = arguments.place<T>(scales_.outer, scales_.size, scales_.inner);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, scales_.elements(), kUnit);
    for (int64_t i = begin; i < end; i++) {
      const int64_t at = scales_.of(i);
      const double rounded = std::nearbyint(x_[i] / scale_[at]);
      const double v = rounded + (zero_point_ ? static_cast<double>(zero_point_[at]) : 0.0);
      y_[i] = static_cast<T>(v != v ? 0 : std::min(high_, std::max(low_, v)));
    }
  }

 private:
  Scales scales_;
  double low_, high_;
  float *x_, *scale_;
  T *zero_point_, *y_;
};

/** y = (x − zeroPoint) · scale, of integers wider than a byte. */
template <class T>
class DequantizeStep : public Step {
 public:
  DequantizeStep(Arguments& arguments, CompileContext&) : scales_(arguments) {
    x_ = arguments.place<T>(scales_.outer, scales_.size, scales_.inner);
    scale_ = arguments.place<float>(scales_.count());
    zero_point_ = arguments.optional<T>(scales_.count());
    y_ = arguments.place<float>(scales_.outer, scales_.size, scales_.inner);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, scales_.elements(), kUnit);
    for (int64_t i = begin; i < end; i++) {
      const int64_t at = scales_.of(i);
      const int64_t zero = zero_point_ ? static_cast<int64_t>(zero_point_[at]) : 0;
      y_[i] = static_cast<float>(static_cast<int64_t>(x_[i]) - zero) * scale_[at];
    }
  }

 private:
  Scales scales_;
  T* x_;
  float* scale_;
  T* zero_point_;
  float* y_;
};

/** So many elements are worked on at a time: their codes, zero points and floats stay in the first-level cache. */
constexpr int64_t kChunk = 512;

/** Integers of 8 bits or fewer, as many in a byte as it holds; zero points have a byte each. Both are read as bytes without a
 * sign. */
class Codes {
 public:
  Codes(Arguments& arguments, const CompileContext& context, const Scales& scales)
      : kernels_(context.kernels->rows),
        bits_(arguments.size()),
        is_signed_(arguments.size() != 0),
        size_(product({scales.outer, scales.size, scales.inner})),
        scales_count_(scales.count()) {
    if (bits_ != 2 && bits_ != 4 && bits_ != 8) arguments.fail("has codes of " + std::to_string(bits_) + " bits");
    if (is_signed_) flip_ = static_cast<uint8_t>(1 << (bits_ - 1));
  }

  void take_codes(Arguments& arguments) { x_ = arguments.place<uint8_t>((size_ * bits_ + 7) / 8); }
  void take_zero_points(Arguments& arguments) { zero_points_ = arguments.optional<uint8_t>(scales_count_); }

  /** At most kChunk of them; `bytes` may come to hold them. */
  const uint8_t* at(int64_t begin, int64_t count, uint8_t* bytes) const {
    if (bits_ == 8 && !is_signed_) return x_ + begin;
    kernels_->unpack(x_, begin, count, bits_, flip_, bytes);
    return bytes;
  }

  /** What to take off the codes as `at` gives them. */
  float zero(int64_t i) const {
    if (!zero_points_) return flip_;
    return static_cast<float>(is_signed_ ? static_cast<int8_t>(zero_points_[i]) : zero_points_[i]) + flip_;
  }

  void zeros(int64_t begin, int64_t count, float* zeros) const {
    for (int64_t i = 0; i < count; i++) zeros[i] = zero(begin + i);
  }

 private:
  const RowKernels* kernels_;
  int64_t bits_;
  bool is_signed_;
  /** What makes codes with a sign such without: they are larger by it. */
  uint8_t flip_ = 0;
  int64_t size_, scales_count_;
  uint8_t *x_ = nullptr, *zero_points_ = nullptr;
};

/** y = (x − zeroPoint) · scale, as float32 or rounded to bfloat16. */
template <class T>
class DequantizeCodesStep : public Step {
 public:
  DequantizeCodesStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels), scales_(arguments), codes_(arguments, context, scales_) {
    codes_.take_codes(arguments);
    scale_ = arguments.place<float>(scales_.count());
    codes_.take_zero_points(arguments);
    y_ = arguments.place<T>(scales_.outer, scales_.size, scales_.inner);
  }

  void run(int, const RunContext& run) override {
    if (scales_.elements() == 0) return;
    const int64_t runs = scales_.runs();
    const bool is_by_run = runs >= run.threads;
    const auto [first, last] = is_by_run ? share(run, runs) : Range{0, runs};
    for (int64_t i = first; i < last; i++) {
      const ScaleRun of = scales_.run(i);
      const auto [begin, end] = is_by_run ? Range{0, of.count} : share(run, of.count, kUnit);
      for (int64_t at = begin; at < end; at += kChunk) dequantize(of, at, std::min(kChunk, end - at));
    }
  }

 private:
  /** Elements of a run, from the `at`-th on. */
  void dequantize(const ScaleRun& of, int64_t at, int64_t count) const {
    uint8_t bytes[kChunk];
    float zeros[kChunk], floats[kChunk];
    const uint8_t* x = codes_.at(of.begin + at, count, bytes);
    T* y = y_ + of.begin + at;
    float* wide = floats;
    if constexpr (std::is_same_v<T, float>) wide = y;
    if (scales_.has_each()) {
      codes_.zeros(of.scale + at, count, zeros);
      kernels_->rows->dequantize_each(x, wide, count, zeros, scale_ + of.scale + at);
    } else {
      kernels_->dequantize(x, wide, count, codes_.zero(of.scale), scale_[of.scale]);
    }
    if constexpr (!std::is_same_v<T, float>) kernels_->narrow_bfloat16(floats, y, count);
  }

  const Kernels* kernels_;
  Scales scales_;
  Codes codes_;
  float* scale_;
  T* y_;
};

/** dscale = Σ dy · (x − zeroPoint) over what shares a scale; sums are float32 over some rows, then double. */
class DequantizeGradientStep : public Step {
 public:
  DequantizeGradientStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels->rows), scales_(arguments), codes_(arguments, context, scales_) {
    dy_ = arguments.place<float>(scales_.outer, scales_.size, scales_.inner);
    codes_.take_codes(arguments);
    codes_.take_zero_points(arguments);
    dscale_ = arguments.place<float>(scales_.count());
  }

  void run(int, const RunContext& run) override {
    if (scales_.elements() == 0) {
      const auto [begin, end] = share(run, scales_.count());
      return std::fill(dscale_ + begin, dscale_ + end, 0.0f);
    }
    const auto& [outer, size, inner, block, blocks, is_blocked] = scales_;
    if (!is_blocked && inner == 1) return sum_columns({0, size, outer}, share(run, size, kUnit), 0);
    const auto [begin, end] = share(run, is_blocked ? outer * blocks : size);
    for (int64_t i = begin; i < end; i++) {
      if (!is_blocked) {
        double total = 0;
        for (int64_t o = 0; o < outer; o++) total = sum((o * size + i) * inner, inner, i, total);
        dscale_[i] = static_cast<float>(total);
      } else if (inner == 1) {
        const ScaleRun of = scales_.run(i);
        dscale_[i] = static_cast<float>(sum(of.begin, of.count, i, 0));
      } else {
        const int64_t g = i % blocks;
        sum_columns({(i / blocks * size + g * block) * inner, inner, std::min(block, size - g * block)}, {0, inner}, i * inner);
      }
    }
  }

 private:
  static constexpr int64_t kSumRows = 64;

  struct Rows {
    int64_t begin, step, count;
  };

  double sum(int64_t begin, int64_t count, int64_t scale, double total) const {
    uint8_t bytes[kChunk];
    for (int64_t at = begin; at < begin + count; at += kChunk) {
      const int64_t some = std::min(kChunk, begin + count - at);
      total = kernels_->dequantize_gradient(dy_ + at, codes_.at(at, some, bytes), some, codes_.zero(scale), total);
    }
    return total;
  }

  /** Every column has a scale, that of column 0 at `scale`. */
  void sum_columns(const Rows& rows, Range columns, int64_t scale) {
    for (int64_t n = columns.begin; n < columns.end; n += kChunk)
      sum_some_columns({rows.begin + n, rows.step, rows.count}, std::min(kChunk, columns.end - n), scale + n);
  }

  void sum_some_columns(const Rows& rows, int64_t count, int64_t scale) {
    uint8_t bytes[kChunk];
    float zeros[kChunk], sums[kChunk] = {};
    double totals[kChunk] = {};
    codes_.zeros(scale, count, zeros);
    for (int64_t row = 0; row < rows.count; row++) {
      const int64_t at = rows.begin + row * rows.step;
      kernels_->add_dequantize_gradient_each(dy_ + at, codes_.at(at, count, bytes), count, zeros, sums);
      if (row % kSumRows != kSumRows - 1 && row != rows.count - 1) continue;
      for (int64_t n = 0; n < count; n++) totals[n] += sums[n], sums[n] = 0;
    }
    for (int64_t n = 0; n < count; n++) dscale_[scale + n] = static_cast<float>(totals[n]);
  }

  const RowKernels* kernels_;
  Scales scales_;
  Codes codes_;
  float *dy_, *dscale_;
};

}  // namespace

StepMakers stored_steps() {
  return {
      {"quantize:int8", make_step<QuantizeStep<int8_t>>},
      {"quantize:uint8", make_step<QuantizeStep<uint8_t>>},
      {"quantize:int16", make_step<QuantizeStep<int16_t>>},
      {"quantize:uint16", make_step<QuantizeStep<uint16_t>>},
      {"quantize:int32", make_step<QuantizeStep<int32_t>>},
      {"dequantize:int16", make_step<DequantizeStep<int16_t>>},
      {"dequantize:uint16", make_step<DequantizeStep<uint16_t>>},
      {"dequantize:int32", make_step<DequantizeStep<int32_t>>},
      {"dequantize:codes", make_step<DequantizeCodesStep<float>>},
      {"dequantize:bfloat16", make_step<DequantizeCodesStep<uint16_t>>},
      {"dequantizeGradient", make_step<DequantizeGradientStep>},
  };
}

}  // namespace frostbit
