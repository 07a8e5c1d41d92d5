// Between float32 and the types in which values are kept or multiplied.

#include "../fused-operation.h"

namespace frostbit {
namespace {

using Widen = void (*)(const uint16_t*, float*, int64_t);
using Narrow = void (*)(const float*, uint16_t*, int64_t);

template <Widen Kernels::*kernel, ElementType type>
class WidenOperation : public FusedOperation {
 public:
  WidenOperation(Arguments& arguments, const FusedContext& context)
      : widen_(context.kernels->*kernel),
        x_(arguments.elementwise<uint16_t>(context.count)),
        y_(arguments.elementwise<float>(context.count)) {}

  void run(const Chunk& chunk) override { widen_(chunk.at(x_), chunk.at(y_), chunk.count); }

  bool describe(LoopMaker& loop) override {
    loop.write(y_, loop.read(x_, type));
    return true;
  }

 private:
  Widen widen_;
  Elementwise<uint16_t> x_;
  Elementwise<float> y_;
};

/** y, and where `rounded` is wanted, y as float32 again: what later readers of y will see. */
template <Narrow Kernels::*kernel, Widen Kernels::*back, ElementType type>
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

  bool describe(LoopMaker& loop) override {
    const auto narrowed = loop.narrowed(loop.read(x_), type);
    loop.write(y_, narrowed, type);
    if (rounded_) loop.write(rounded_, loop.widened(narrowed, type));
    return true;
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
        width_(repeated(channels_)),
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

  bool describe(LoopMaker& loop) override {
    const auto row = [&](int i) { return loop.column(rows_.row_of_thread(i)); };
    const auto factors = row(0), bias = row(1);
    loop.write(y_, loop.multiply_add(loop.read(x_, ElementType::Int32), factors, bias));
    return true;
  }

  bool is_ready(const Chunk& chunk) override { return !chunk.reads_odd_codes; }

  void run(const Chunk& chunk) override {
    if (chunk.reads_odd_codes) return chunk.fill_odd(y_);
    kernels_->rescale(chunk.at(x_), rows_.row(chunk.thread, 0), rows_.row(chunk.thread, 1), chunk.at(y_), chunk.count, width_);
  }

 private:
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
      {"widen:bfloat16", make_operation<WidenOperation<&Kernels::widen_bfloat16, ElementType::Bfloat16>>},
      {"widen:float16", make_operation<WidenOperation<&Kernels::widen_float16, ElementType::Float16>>},
      {"narrow:bfloat16",
       make_operation<NarrowOperation<&Kernels::narrow_bfloat16, &Kernels::widen_bfloat16, ElementType::Bfloat16>>},
      {"narrow:float16",
       make_operation<NarrowOperation<&Kernels::narrow_float16, &Kernels::widen_float16, ElementType::Float16>>},
      {"rescale", make_operation<RescaleOperation>},
  };
}

}  // namespace frostbit
