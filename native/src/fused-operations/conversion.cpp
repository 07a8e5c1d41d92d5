// Between float32 and the types in which values are kept or multiplied.
#include <algorithm>

#include "../fused-operation.h"

namespace frostbit {
namespace {

using Widen = void (*)(const uint16_t*, float*, int64_t);
using Narrow = void (*)(const float*, uint16_t*, int64_t);

template <Widen Kernels::*kernel>
class WidenOperation : public FusedOperation {
 public:
  WidenOperation(Arguments& arguments, const FusedContext& context)
      : widen_(context.kernels->*kernel),
        x_(arguments.elementwise<uint16_t>(context.count)),
        y_(arguments.elementwise<float>(context.count)) {}

  void run(const Chunk& chunk) override { widen_(chunk.at(x_), chunk.at(y_), chunk.count); }

 private:
  Widen widen_;
  Elementwise<uint16_t> x_;
  Elementwise<float> y_;
};

/** y, and where `rounded` is wanted, y as float32 again: what later readers of y will see. */
template <Narrow Kernels::*kernel, Widen Kernels::*back>
class NarrowOperation : public FusedOperation {
 public:
  NarrowOperation(Arguments& arguments, const FusedContext& context)
      : narrow_(context.kernels->*kernel),
        widen_(context.kernels->*back),
        x_(arguments.elementwise<float>(context.count)),
        y_(arguments.elementwise<uint16_t>(context.count)),
        rounded_(arguments.optional_elementwise<float>(context.count)) {}

  void run(const Chunk& chunk) override {
    narrow_(chunk.at(x_), chunk.at(y_), chunk.count);
    if (rounded_) widen_(chunk.at(y_), chunk.at(rounded_), chunk.count);
  }

 private:
  Narrow narrow_;
  Widen widen_;
  Elementwise<float> x_;
  Elementwise<uint16_t> y_;
  Elementwise<float> rounded_;
};

/** y = x · scale · factors[channel] + bias[channel] of an integer convolution's sums. */
class RescaleOperation : public FusedOperation {
 public:
  RescaleOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        factors_count_(arguments.size()),
        channels_(context.width),
        x_(arguments.elementwise<int32_t>(context.count)),
        scale_(arguments.place<float>(1)),
        factors_(arguments.place<float>(factors_count_)),
        bias_(arguments.optional<float>(channels_)),
        y_(arguments.elementwise<float>(context.count)),
        width_(channels_ >= kWidth ? channels_ : (kWidth + channels_ - 1) / channels_ * channels_),
        rows_(context.threads, 2, width_) {
    if (factors_count_ != 1 && factors_count_ != channels_) arguments.fail("has factors that fit no channels");
  }

  void prepare(const RunContext& run) override {
    float *factors = rows_.row(run.thread, 0), *bias = rows_.row(run.thread, 1);
    for (int64_t i = 0; i < width_; i++) {
      factors[i] = *scale_ * factors_[factors_count_ == 1 ? 0 : i % channels_];
      bias[i] = bias_ ? bias_[i % channels_] : 0.0f;
    }
  }

  void run(const Chunk& chunk) override {
    kernels_->rescale(chunk.at(x_), rows_.row(chunk.thread, 0), rows_.row(chunk.thread, 1), chunk.at(y_), chunk.count, width_);
  }

 private:
  static constexpr int64_t kWidth = 64;

  const Kernels* kernels_;
  int64_t factors_count_, channels_;
  Elementwise<int32_t> x_;
  float *scale_, *factors_, *bias_;
  Elementwise<float> y_;
  int64_t width_;
  ThreadRows<float> rows_;
};

}  // namespace

FusedOperationMakers conversion_operations() {
  return {
      {"widen:bfloat16", make_operation<WidenOperation<&Kernels::widen_bfloat16>>},
      {"widen:float16", make_operation<WidenOperation<&Kernels::widen_float16>>},
      {"narrow:bfloat16", make_operation<NarrowOperation<&Kernels::narrow_bfloat16, &Kernels::widen_bfloat16>>},
      {"narrow:float16", make_operation<NarrowOperation<&Kernels::narrow_float16, &Kernels::widen_float16>>},
      {"rescale", make_operation<RescaleOperation>},
  };
}

}  // namespace frostbit
