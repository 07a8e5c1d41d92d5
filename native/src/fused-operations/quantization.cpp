// Fake quantization with one quantizer for all elements, as floats and as codes, and its gradient.
#include <cmath>

#include "../fused-operation.h"

namespace frostbit {
namespace {

struct OneQuantizer {
  float *scale, *zero_point, *low, *high;

  explicit OneQuantizer(Arguments& arguments)
      : scale(arguments.place<float>(1)),
        zero_point(arguments.optional<float>(1)),
        low(arguments.place<float>(1)),
        high(arguments.place<float>(1)) {}

  Quantizer now() const { return {*scale, zero_point ? rounded_zero_point(*zero_point, *low, *high) : 0.0f, *low, *high}; }
};

class FakeQuantizeOperation : public FusedOperation {
 public:
  FakeQuantizeOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        x_(arguments.elementwise<float>(context.count)),
        qparams_(arguments),
        y_(arguments.elementwise<float>(context.count)) {}

  void run(const Chunk& chunk) override { kernels_->fake_quantize(chunk.at(x_), chunk.at(y_), chunk.count, qparams_.now()); }

 private:
  const Kernels* kernels_;
  Elementwise<float> x_;
  OneQuantizer qparams_;
  Elementwise<float> y_;
};

/**
 * The codes above `low`, and the scale and zero point with which they are read. An x or a zero point that is not a number has
 * no code: it makes the scale one that is not a number, so that it is seen in the results as it is in float32.
 */
class QuantizeOperation : public FusedOperation {
 public:
  QuantizeOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        x_(arguments.elementwise<float>(context.count)),
        qparams_(arguments),
        y_(arguments.elementwise<uint8_t>(context.count)),
        scale_(arguments.place<float>(1)),
        zero_(arguments.place<float>(1)),
        is_odd_(context.threads * kStride) {}

  void prepare(const RunContext& run) override { is_odd_[run.thread * kStride] = false; }

  void run(const Chunk& chunk) override {
    if (kernels_->quantize(chunk.at(x_), chunk.at(y_), chunk.count, qparams_.now())) is_odd_[chunk.thread * kStride] = true;
  }

  bool has_epilogue() const override { return true; }

  void epilogue(const RunContext& run) override {
    const auto [scale, zero_point, low, high] = qparams_.now();
    bool is_odd = zero_point != zero_point;
    for (int thread = 0; thread < run.threads; thread++) is_odd = is_odd || is_odd_[thread * kStride];
    *scale_ = is_odd ? std::nanf("") : scale;
    *zero_ = zero_point - low;
  }

 private:
  static constexpr int kStride = 64;

  const Kernels* kernels_;
  Elementwise<float> x_;
  OneQuantizer qparams_;
  Elementwise<uint8_t> y_;
  float *scale_, *zero_;
  std::vector<char> is_odd_;
};

/** y = (x − zero) · scale */
class DequantizeOperation : public FusedOperation {
 public:
  DequantizeOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        x_(arguments.elementwise<uint8_t>(context.count)),
        scale_(arguments.place<float>(1)),
        zero_(arguments.place<float>(1)),
        y_(arguments.elementwise<float>(context.count)) {}

  void run(const Chunk& chunk) override { kernels_->dequantize(chunk.at(x_), chunk.at(y_), chunk.count, *zero_, *scale_); }

 private:
  const Kernels* kernels_;
  Elementwise<uint8_t> x_;
  float *scale_, *zero_;
  Elementwise<float> y_;
};

class FakeQuantizeGradientOperation : public FusedOperation {
 public:
  FakeQuantizeGradientOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        dy_(arguments.elementwise<float>(context.count)),
        x_(arguments.elementwise<float>(context.count)),
        qparams_(arguments),
        dx_(arguments.optional_elementwise<float>(context.count)),
        dscale_(arguments.optional<float>(1)),
        dzero_point_(arguments.optional<float>(1)),
        sums_(context.threads, 1, 2) {}

  void prepare(const RunContext& run) override {
    double* sums = sums_.row(run.thread, 0);
    sums[0] = sums[1] = 0;
  }

  void run(const Chunk& chunk) override {
    kernels_->fake_quantize_gradient(chunk.at(dy_), chunk.at(x_), chunk.at(dx_), chunk.count, qparams_.now(),
                                     sums_.row(chunk.thread, 0));
  }

  bool has_epilogue() const override { return dscale_ || dzero_point_; }

  void epilogue(const RunContext& run) override {
    double total[2] = {};
    for (int thread = 0; thread < run.threads; thread++)
      for (int i = 0; i < 2; i++) total[i] += sums_.row(thread, 0)[i];
    if (dscale_) *dscale_ = static_cast<float>(total[0]);
    if (dzero_point_) *dzero_point_ = static_cast<float>(total[1]);
  }

 private:
  const Kernels* kernels_;
  Elementwise<float> dy_, x_;
  OneQuantizer qparams_;
  Elementwise<float> dx_;
  float *dscale_, *dzero_point_;
  ThreadRows<double> sums_;
};

}  // namespace

FusedOperationMakers quantization_operations() {
  return {
      {"fakeQuantize", make_operation<FakeQuantizeOperation>},
      {"quantize", make_operation<QuantizeOperation>},
      {"dequantize", make_operation<DequantizeOperation>},
      {"fakeQuantizeGradient", make_operation<FakeQuantizeGradientOperation>},
  };
}

}  // namespace frostbit
