// Fake quantization with one quantizer for all elements, as floats and as codes, and its gradient.
#include <algorithm>
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

  /** Its numbers in a loop. */
  struct InLoop {
    LoopMaker::Value scale, zero_point, low, high;
  };
  InLoop in(LoopMaker& loop) const {
    const auto number = [&](float Quantizer::*which) { return loop.number([this, which](int) { return now().*which; }); };
    return {number(&Quantizer::scale), number(&Quantizer::zero_point), number(&Quantizer::low), number(&Quantizer::high)};
  }

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

  bool describe(LoopMaker& loop) override {
    const auto [scale, zero_point, low, high] = qparams_.in(loop);
    const auto code = loop.add(loop.rounded(loop.divide(loop.read(x_), scale)), zero_point);
    // What is no number stays none.
    const auto held = loop.less(high, loop.greater(low, code));
    loop.write(y_, loop.multiply(loop.subtract(held, zero_point), scale));
    return true;
  }

 private:
  const Kernels* kernels_;
  Elementwise<float> x_;
  OneQuantizer qparams_;
  Elementwise<float> y_;
};

/**
 * The codes above `low`, and the scale and zero point with which they are read. An x or a zero point that is not a number has
 * no code: it makes the scale one that is not a number, so that it is seen in the results as it is in float32. Readers in the
 * same windows, which go on meanwhile, are told of it with the window.
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
        is_odd_(context.threads * kStride),
        odd_(context.threads, 1, LoopMaker::kLanes) {}

  bool describe(LoopMaker& loop) override {
    const auto x = loop.read(x_);
    const auto scale = loop.number([this](int) { return qparams_.now().scale; });
    const auto shift = loop.number([this](int) { return qparams_.now().zero_point - qparams_.now().low; });
    const auto max = loop.number([this](int) { return qparams_.now().high - qparams_.now().low; });
    const auto one = loop.number([](int) { return 1.0f; });
    const auto code = loop.add(loop.rounded(loop.divide(x, scale)), shift);
    loop.add_to(loop.lane_sums(odd_.row_of_thread(0)), one, loop.is_no_number(x));
    loop.write(y_, loop.less(max, loop.greater(code, loop.zero())), ElementType::Uint8);
    return true;
  }

  void account(const Chunk& chunk) override {
    float* odd = odd_.row(chunk.thread, 0);
    if (std::all_of(odd, odd + LoopMaker::kLanes, [](float count) { return count == 0; })) return;
    std::fill(odd, odd + LoopMaker::kLanes, 0.0f);
    note_odd(chunk);
  }

  bool has_prologue() const override { return true; }
  void prologue() override { give(false); }

  void prepare(const RunContext& run) override { is_odd_[run.thread * kStride] = false; }

  void run(const Chunk& chunk) override {
    if (kernels_->quantize(chunk.at(x_), chunk.at(y_), chunk.count, qparams_.now())) note_odd(chunk);
  }

  bool has_epilogue() const override { return true; }

  void epilogue(const RunContext& run) override {
    bool is_odd = false;
    for (int thread = 0; thread < run.threads; thread++) is_odd = is_odd || is_odd_[thread * kStride];
    give(is_odd);
  }

 private:
  static constexpr int kStride = 64;

  void note_odd(const Chunk& chunk) { is_odd_[chunk.thread * kStride] = *chunk.makes_odd_codes = true; }

  void give(bool is_odd) {
    const auto [scale, zero_point, low, high] = qparams_.now();
    *scale_ = is_odd || zero_point != zero_point ? std::nanf("") : scale;
    *zero_ = zero_point - low;
  }

  const Kernels* kernels_;
  Elementwise<float> x_;
  OneQuantizer qparams_;
  Elementwise<uint8_t> y_;
  float *scale_, *zero_;
  std::vector<char> is_odd_;
  /** How many a loop saw that are no numbers. */
  ThreadRows<float> odd_;
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

  bool describe(LoopMaker& loop) override {
    const auto zero = loop.number([this](int) { return *zero_; }), scale = loop.number([this](int) { return *scale_; });
    loop.write(y_, loop.multiply(loop.subtract(loop.read(x_, ElementType::Uint8), zero), scale));
    return true;
  }

  bool is_ready(const Chunk& chunk) override { return !chunk.reads_odd_codes; }

  void run(const Chunk& chunk) override {
    if (chunk.reads_odd_codes) return chunk.fill_odd(y_);
    kernels_->dequantize(chunk.at(x_), chunk.at(y_), chunk.count, *zero_, *scale_);
  }

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
        sums_(context.threads, 1, 3),
        lanes_(context.threads, 2, LoopMaker::kLanes) {}

  void prepare(const RunContext& run) override {
    std::fill_n(sums_.row(run.thread, 0), 3, 0.0);
    for (int i = 0; i < 2; i++) std::fill_n(lanes_.row(run.thread, i), LoopMaker::kLanes, 0.0f);
  }

  void run(const Chunk& chunk) override {
    kernels_->fake_quantize_gradient(chunk.at(dy_), chunk.at(x_), chunk.at(dx_), chunk.count, qparams_.now(),
                                     sums_.row(chunk.thread, 0));
  }

  bool describe(LoopMaker& loop) override {
    const auto [scale, zero_point, low, high] = qparams_.in(loop);
    const auto lanes = [&](int i) { return loop.lane_sums(lanes_.row_of_thread(i)); };
    const auto g = loop.read(dy_), quotient = loop.divide(loop.read(x_), scale);
    const auto code = loop.add(loop.rounded(quotient), zero_point);
    // What is no number stays none, and counts as inside.
    const auto held = loop.less(high, loop.greater(low, code));
    const auto is_outside = loop.is_another(held, code);
    const auto level = loop.subtract(held, zero_point);
    const auto factor = loop.choose(is_outside, level, loop.subtract(level, quotient));
    loop.add_product_to(lanes(0), g, factor);
    loop.add_to(lanes(1), g, is_outside);
    if (dx_) loop.write(dx_, loop.choose(is_outside, loop.zero(), g));
    return true;
  }

  void account(const Chunk& chunk) override {
    double& seen = sums_.row(chunk.thread, 0)[2];
    if ((seen += static_cast<double>(chunk.count)) >= kMaxTerms * LoopMaker::kLanes) flush(chunk.thread);
  }

  void complete(const RunContext& run) override { flush(run.thread); }
  bool has_epilogue() const override { return dscale_ || dzero_point_; }

  void epilogue(const RunContext& run) override {
    double total[2] = {};
    for (int thread = 0; thread < run.threads; thread++)
      for (int i = 0; i < 2; i++) total[i] += sums_.row(thread, 0)[i];
    if (dscale_) *dscale_ = static_cast<float>(total[0]);
    if (dzero_point_) *dzero_point_ = static_cast<float>(total[1]);
  }

 private:
  /** What a float32 of a loop adds up before it is added to a double. */
  static constexpr double kMaxTerms = 128;

  void flush(int thread) {
    double totals[2] = {};
    for (int i = 0; i < 2; i++) {
      float* lanes = lanes_.row(thread, i);
      for (int lane = 0; lane < LoopMaker::kLanes; lane++) totals[i] += lanes[lane];
      std::fill_n(lanes, LoopMaker::kLanes, 0.0f);
    }
    double* sums = sums_.row(thread, 0);
    sums[0] += totals[0], sums[1] -= totals[1] * qparams_.now().scale, sums[2] = 0;
  }

  const Kernels* kernels_;
  Elementwise<float> dy_, x_;
  OneQuantizer qparams_;
  Elementwise<float> dx_;
  float *dscale_, *dzero_point_;
  /** dscale, dzero point, and how many elements a loop has seen that are not in them. */
  ThreadRows<double> sums_;
  /** What a loop has added up of these. */
  ThreadRows<float> lanes_;
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
