// Numbers as they are stored: quantized to integers of 4 to 32 bits, and back.
#include <algorithm>
#include <cmath>

#include "steps.h"

namespace frostbit {
namespace {

constexpr int64_t kUnit = 16;

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

/** y = (x − zeroPoint) · scale */
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

}  // namespace

StepMakers stored_steps() {
  return {
      {"quantize:int8", make_step<QuantizeStep<int8_t>>},         {"quantize:uint8", make_step<QuantizeStep<uint8_t>>},
      {"quantize:int16", make_step<QuantizeStep<int16_t>>},       {"quantize:uint16", make_step<QuantizeStep<uint16_t>>},
      {"quantize:int32", make_step<QuantizeStep<int32_t>>},       {"dequantize:int8", make_step<DequantizeStep<int8_t>>},
      {"dequantize:uint8", make_step<DequantizeStep<uint8_t>>},   {"dequantize:int16", make_step<DequantizeStep<int16_t>>},
      {"dequantize:uint16", make_step<DequantizeStep<uint16_t>>}, {"dequantize:int32", make_step<DequantizeStep<int32_t>>},
  };
}

}  // namespace frostbit
