// The weight gradient of a convolution in bfloat16, on processors that have instructions for it.
#include "../weight-gradient.h"

#include <cmath>
#include <cstring>

#include "steps.h"

namespace frostbit {
namespace {

constexpr int64_t kMostSize = int64_t{1} << 24;

/** As convolution.cpp reads a convolution; one of one group and one or two spatial axes. */
struct Images {
  int64_t batch;
  WeightGradientShape shape;

  explicit Images(Arguments& arguments) {
    batch = arguments.size();
    const int64_t group = arguments.size();
    shape.inputs = arguments.size(), shape.outputs = arguments.size();
    int64_t end[2];
    int64_t(*lists[])[2] = {&shape.in, &shape.out, &shape.kernel, &shape.strides, &shape.dilations, &shape.begin, &end};
    for (int64_t(*list)[2] : lists) {
      auto values = arguments.list();
      if (values.size() == 1) values.insert(values.begin(), list == &shape.begin || list == &end ? 0 : 1);
      if (values.size() != 2) arguments.fail("has " + std::to_string(values.size()) + " spatial axes");
      (*list)[0] = values[0], (*list)[1] = values[1];
    }
    if (group != 1) arguments.fail("has " + std::to_string(group) + " groups");
    for (int axis = 0; axis < 2; axis++) check(axis, end[axis], arguments);
    product({shape.inputs, shape.kernel[0], shape.kernel[1], padded(0, end), padded(1, end), 16});
    product({shape.outputs, shape.out[0], padded(1, end), 16});
  }

  int64_t x_elements() const { return product({batch, shape.in[0], shape.in[1], shape.inputs}); }
  int64_t dy_elements() const { return product({batch, shape.out[0], shape.out[1], shape.outputs}); }
  int64_t row_elements() const { return product({shape.inputs, shape.kernel[0], shape.kernel[1]}); }

 private:
  int64_t padded(int axis, const int64_t (&end)[2]) const { return shape.in[axis] + shape.begin[axis] + end[axis]; }

  void check(int axis, int64_t end, const Arguments& arguments) const {
    for (const auto* list : {&shape.in, &shape.out, &shape.kernel, &shape.strides, &shape.dilations})
      if ((*list)[axis] < 1 || (*list)[axis] > kMostSize)
        arguments.fail("has a window or an image of " + std::to_string((*list)[axis]));
    if (shape.begin[axis] < 0 || shape.begin[axis] > kMostSize || end < -kMostSize || end > kMostSize)
      arguments.fail("has pads of " + std::to_string(shape.begin[axis]) + " and " + std::to_string(end));
    const int64_t reach = (shape.kernel[axis] - 1) * shape.dilations[axis] + 1;
    const int64_t free = shape.in[axis] + shape.begin[axis] + end - reach;
    if (free < 0 || free / shape.strides[axis] + 1 != shape.out[axis])
      arguments.fail("has an output of " + std::to_string(shape.out[axis]) + " that its window does not give");
  }
};

/**
 * Integers: a convolution's; 1 where x holds 8-bit codes, 0 where it holds bfloat16; the number of rows (a size or a count); the most
 * rows. Places: dy, bfloat16, channels last; x, channels last; the codes' zero point, float32, rounded here (left out: 0); their
 * scale, float32 (left out: 1); rows, int64 (left out: all, in order); dw, float32 [rows, input channels, kernel].
 */
class WeightGradientStep : public Step {
 public:
  WeightGradientStep(Arguments& arguments, CompileContext& context) : images_(arguments), kernels_(weight_gradient_kernels()) {
    if (!kernels_) arguments.fail("needs a processor with AVX-512-BF16 (and FROSTBIT_MAX_CPU_ISA=avx512 or none)");
    has_codes_ = arguments.integer() != 0;
    count_ = arguments.integer(), most_ = arguments.size();
    dy_ = arguments.place<uint16_t>(images_.dy_elements());
    if (has_codes_) codes_ = arguments.place<uint8_t>(images_.x_elements());
    else values_ = arguments.place<uint16_t>(images_.x_elements());
    zero_ = arguments.optional<float>(1);
    scale_ = arguments.optional<float>(1);
    rows_ = arguments.optional<int64_t>(most_);
    if (most_ > images_.shape.outputs) arguments.fail("has more rows than channels");
    dw_ = arguments.place<float>(most_, images_.row_elements());
    const int64_t most_images = (images_.batch + context.threads - 1) / context.threads;
    stride_ = kernels_->sums_elements(images_.shape, most_);
    row_bytes_ = (most_ * sizeof(int64_t) + 63) / 64 * 64;
    context.want_scratch(row_bytes_ + kernels_->scratch_bytes(images_.shape, most_images, most_));
    context.want_shared(context.threads * stride_ * sizeof(float));
  }

  int phases() const override { return 2; }

  void run(int phase, const RunContext& run) override {
    const int64_t count = run.size(count_);
    if (count > most_) throw PlanError("more rows than there are");
    if (phase == 0) return add_up(run, count);
    const auto [first, last] = share(run, count);
    kernels_->give(images_.shape, count, reinterpret_cast<float*>(run.shared), run.threads, stride_, scale_ ? *scale_ : 1,
                   first, last, dw_);
  }

  std::string describe() const override { return "frostbit avx512_bf16"; }

 private:
  void add_up(const RunContext& run, int64_t count) const {
    const auto& shape = images_.shape;
    float* sums = reinterpret_cast<float*>(run.shared) + run.thread * stride_;
    std::memset(sums, 0, kernels_->sums_elements(shape, count) * sizeof(float));
    auto* rows = reinterpret_cast<int64_t*>(run.scratch);
    for (int64_t i = 0; i < count; i++) rows[i] = rows_ ? checked_row(rows_[i], shape.outputs) : i;
    const auto [begin, end] = share(run, images_.batch);
    const int64_t x_at = begin * shape.in[0] * shape.in[1] * shape.inputs;
    const WeightGradientInput x{codes_ ? codes_ + x_at : nullptr, values_ ? values_ + x_at : nullptr, zero()};
    const uint16_t* dy = dy_ + begin * shape.out[0] * shape.out[1] * shape.outputs;
    kernels_->add_up(shape, end - begin, x, dy, rows, count, sums, run.scratch + row_bytes_);
  }

  int32_t zero() const {
    if (!has_codes_ || !zero_) return 0;
    const float zero = std::nearbyint(*zero_);
    if (!(zero >= 0 && zero <= 255)) throw PlanError("a zero point of " + std::to_string(*zero_) + " for 8-bit codes");
    return static_cast<int32_t>(zero);
  }

  Images images_;
  const WeightGradientKernels* kernels_;
  bool has_codes_;
  int64_t count_, most_, stride_;
  size_t row_bytes_;
  const uint16_t* dy_;
  const uint8_t* codes_ = nullptr;
  const uint16_t* values_ = nullptr;
  const float *zero_, *scale_;
  const int64_t* rows_;
  float* dw_;
};

}  // namespace

StepMakers weight_gradient_steps() { return {{"weightGradientBfloat16", make_step<WeightGradientStep>}}; }

}  // namespace frostbit
