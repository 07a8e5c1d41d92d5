// Between float32 and the types in which values are kept or multiplied.
#include <algorithm>

#include "../fused-part.h"

namespace frostbit {
namespace {

using Widen = void (*)(const uint16_t*, float*, int64_t);
using Narrow = void (*)(const float*, uint16_t*, int64_t);

template <Widen Kernels::*kernel>
class WidenPart : public Part {
 public:
  WidenPart(Arguments& arguments, const PartContext& context)
      : widen_(context.kernels->*kernel),
        x_(arguments.stream<uint16_t>(context.count)),
        y_(arguments.stream<float>(context.count)) {}

  void run(const Chunk& chunk) override { widen_(chunk.at(x_), chunk.at(y_), chunk.count); }

 private:
  Widen widen_;
  Stream<uint16_t> x_;
  Stream<float> y_;
};

/** y, and where `rounded` is wanted, y as float32 again: what later readers of y will see. */
template <Narrow Kernels::*kernel, Widen Kernels::*back>
class NarrowPart : public Part {
 public:
  NarrowPart(Arguments& arguments, const PartContext& context)
      : narrow_(context.kernels->*kernel),
        widen_(context.kernels->*back),
        x_(arguments.stream<float>(context.count)),
        y_(arguments.stream<uint16_t>(context.count)),
        rounded_(arguments.optional_stream<float>(context.count)) {}

  void run(const Chunk& chunk) override {
    narrow_(chunk.at(x_), chunk.at(y_), chunk.count);
    if (rounded_) widen_(chunk.at(y_), chunk.at(rounded_), chunk.count);
  }

 private:
  Narrow narrow_;
  Widen widen_;
  Stream<float> x_;
  Stream<uint16_t> y_;
  Stream<float> rounded_;
};

/** y = x · scale · factors[channel] + bias[channel] of an integer convolution's sums. */
class RescalePart : public Part {
 public:
  RescalePart(Arguments& arguments, const PartContext& context)
      : kernels_(context.kernels),
        factors_count_(arguments.size()),
        channels_(context.width),
        x_(arguments.stream<int32_t>(context.count)),
        scale_(arguments.place<float>(1)),
        factors_(arguments.place<float>(factors_count_)),
        bias_(arguments.optional<float>(channels_)),
        y_(arguments.stream<float>(context.count)),
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
  Stream<int32_t> x_;
  float *scale_, *factors_, *bias_;
  Stream<float> y_;
  int64_t width_;
  ThreadRows<float> rows_;
};

}  // namespace

PartMakers conversion_parts() {
  return {
      {"widen:bfloat16", make_part<WidenPart<&Kernels::widen_bfloat16>>},
      {"widen:float16", make_part<WidenPart<&Kernels::widen_float16>>},
      {"narrow:bfloat16", make_part<NarrowPart<&Kernels::narrow_bfloat16, &Kernels::widen_bfloat16>>},
      {"narrow:float16", make_part<NarrowPart<&Kernels::narrow_float16, &Kernels::widen_float16>>},
      {"rescale", make_part<RescalePart>},
  };
}

}  // namespace frostbit
