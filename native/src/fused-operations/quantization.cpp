// Fake quantization with one quantizer for all elements, as floats and as codes, and its gradient.
#include <cmath>

#include "../fused-part.h"

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

class FakeQuantizePart : public Part {
 public:
  FakeQuantizePart(Arguments& arguments, const PartContext& context)
      : kernels_(context.kernels),
        x_(arguments.stream<float>(context.count)),
        qparams_(arguments),
        y_(arguments.stream<float>(context.count)) {}

  void run(const Chunk& chunk) override { kernels_->fake_quantize(chunk.at(x_), chunk.at(y_), chunk.count, qparams_.now()); }

 private:
  const Kernels* kernels_;
  Stream<float> x_;
  OneQuantizer qparams_;
  Stream<float> y_;
};

/**
 * The codes above `low`, and the scale and zero point with which they are read. An x or a zero point that is not a number has
 * no code: it makes the scale one that is not a number, so that it is seen in the results as it is in float32.
 */
class QuantizePart : public Part {
 public:
  QuantizePart(Arguments& arguments, const PartContext& context)
      : kernels_(context.kernels),
        x_(arguments.stream<float>(context.count)),
        qparams_(arguments),
        y_(arguments.stream<uint8_t>(context.count)),
        scale_(arguments.place<float>(1)),
        zero_(arguments.place<float>(1)),
        is_odd_(context.threads * kStride) {}

  void prepare(const RunContext& run) override { is_odd_[run.thread * kStride] = false; }

  void run(const Chunk& chunk) override {
    if (kernels_->quantize(chunk.at(x_), chunk.at(y_), chunk.count, qparams_.now())) is_odd_[chunk.thread * kStride] = true;
  }

  bool has_end() const override { return true; }

  void end(const RunContext& run) override {
    const auto [scale, zero_point, low, high] = qparams_.now();
    bool is_odd = zero_point != zero_point;
    for (int thread = 0; thread < run.threads; thread++) is_odd = is_odd || is_odd_[thread * kStride];
    *scale_ = is_odd ? std::nanf("") : scale;
    *zero_ = zero_point - low;
  }

 private:
  static constexpr int kStride = 64;

  const Kernels* kernels_;
  Stream<float> x_;
  OneQuantizer qparams_;
  Stream<uint8_t> y_;
  float *scale_, *zero_;
  std::vector<char> is_odd_;
};

/** y = (x − zero) · scale */
class DequantizePart : public Part {
 public:
  DequantizePart(Arguments& arguments, const PartContext& context)
      : kernels_(context.kernels),
        x_(arguments.stream<uint8_t>(context.count)),
        scale_(arguments.place<float>(1)),
        zero_(arguments.place<float>(1)),
        y_(arguments.stream<float>(context.count)) {}

  void run(const Chunk& chunk) override { kernels_->dequantize(chunk.at(x_), chunk.at(y_), chunk.count, *zero_, *scale_); }

 private:
  const Kernels* kernels_;
  Stream<uint8_t> x_;
  float *scale_, *zero_;
  Stream<float> y_;
};

class FakeQuantizeGradientPart : public Part {
 public:
  FakeQuantizeGradientPart(Arguments& arguments, const PartContext& context)
      : kernels_(context.kernels),
        dy_(arguments.stream<float>(context.count)),
        x_(arguments.stream<float>(context.count)),
        qparams_(arguments),
        dx_(arguments.optional_stream<float>(context.count)),
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

  bool has_end() const override { return dscale_ || dzero_point_; }

  void end(const RunContext& run) override {
    double total[2] = {};
    for (int thread = 0; thread < run.threads; thread++)
      for (int i = 0; i < 2; i++) total[i] += sums_.row(thread, 0)[i];
    if (dscale_) *dscale_ = static_cast<float>(total[0]);
    if (dzero_point_) *dzero_point_ = static_cast<float>(total[1]);
  }

 private:
  const Kernels* kernels_;
  Stream<float> dy_, x_;
  OneQuantizer qparams_;
  Stream<float> dx_;
  float *dscale_, *dzero_point_;
  ThreadRows<double> sums_;
};

}  // namespace

PartMakers quantization_parts() {
  return {
      {"fakeQuantize", make_part<FakeQuantizePart>},
      {"quantize", make_part<QuantizePart>},
      {"dequantize", make_part<DequantizePart>},
      {"fakeQuantizeGradient", make_part<FakeQuantizeGradientPart>},
  };
}

}  // namespace frostbit
