// The weight gradient of a convolution by our own kernels: in bfloat16 directly, and in bfloat16 and float32 by Winograd's
// algorithm.
#include "../weight-gradient.h"

#include <cstring>

#include "planar-convolution.h"

namespace frostbit {
namespace {

/** What adds up the gradient of so many rows; null where the processor lacks it. */
struct Direct {
  using Element = uint16_t;
  static const WeightGradientKernels<uint16_t>* of(int64_t) { return direct_weight_gradient(); }
};
struct Winograd {
  using Element = float;
  static const WeightGradientKernels<float>* of(int64_t) { return winograd_weight_gradient<float>(); }
};
struct WinogradBfloat16 {
  using Element = uint16_t;
  /** Transforming x takes about as long as multiplying it directly with this many rows. */
  static constexpr int64_t kMin = 12;
  static const WeightGradientKernels<uint16_t>* of(int64_t rows) {
    return rows < kMin ? direct_weight_gradient() : winograd_weight_gradient<uint16_t>();
  }
};

/**
 * Integers: a convolution's; 1 where x holds 8-bit codes, 0 where it holds what dy does; the number of rows (a size or a
 * count); the most rows. Places: dy, bfloat16 or float32, channels last; x, channels last; the codes' zero point, float32,
 * rounded here (left out: 0); their scale, float32 (left out: 1); rows, int64 (left out: all, in order); dw, float32 [rows,
 * input channels, kernel].
 */
template <class Kernels>
class WeightGradientStep : public ImageStep {
  using Element = typename Kernels::Element;

 public:
  WeightGradientStep(Arguments& arguments, CompileContext& context) : images_(arguments) {
    check_images(arguments, context, images_.batch);
    has_codes_ = arguments.integer() != 0;
    count_ = arguments.integer(), max_ = arguments.size();
    dy_ = arguments.images<const Element>(images_.batch, images_.dy_elements());
    if (has_codes_)
      codes_ = arguments.images<const uint8_t>(images_.batch, images_.x_elements());
    else
      values_ = arguments.images<const Element>(images_.batch, images_.x_elements());
    zero_ = arguments.optional<float>(1);
    scale_ = arguments.optional<float>(1);
    rows_ = arguments.optional<int64_t>(max_);
    if (max_ > images_.shape.outputs) arguments.fail("has more rows than channels");
    dw_ = arguments.place<float>(max_, images_.row_elements());
    const int64_t max_images = images_at_once(context, images_.batch);
    row_bytes_ = aligned(max_ * sizeof(int64_t));
    // With fewer rows, too, they may be other ones.
    for (const auto* kernels : {Kernels::of(0), Kernels::of(max_)}) {
      if (!kernels)
        arguments.fail("needs a processor with AVX-512 (in bfloat16: AVX-512-BF16), and FROSTBIT_MAX_CPU_ISA=avx512 or none");
      if (!kernels->serves(images_.shape))
        arguments.fail("is of a shape that " + std::string(kernels->name) + " does not serve");
      stride_ = std::max(stride_, kernels->sums_elements(images_.shape, max_));
      context.want_scratch(row_bytes_ + kernels->scratch_bytes(images_.shape, max_images, max_));
    }
    context.want_shared(context.threads * stride_ * sizeof(float));
  }

  Range share_of(const RunContext& run) const override { return share(run, images_.batch); }

  void begin(const RunContext& run) override {
    const int64_t count = count_of(run);
    std::memset(sums_of(run), 0, Kernels::of(count)->sums_elements(images_.shape, count) * sizeof(float));
    for (int64_t i = 0; i < count; i++) rows_of(run)[i] = rows_ ? checked_row(rows_[i], images_.shape.outputs) : i;
  }

  void run_window(const RunContext& run, const Window& window) override {
    const int64_t count = count_of(run);
    const WeightGradientInput<Element> x{has_codes_ ? codes_.at(window) : nullptr, has_codes_ ? nullptr : values_.at(window),
                                         zero()};
    Kernels::of(count)->add_up(images_.shape, window.end - window.begin, x, dy_.at(window), rows_of(run), count, sums_of(run),
                               run.scratch + row_bytes_);
  }

  int phases_after() const override { return 1; }

  void after(int, const RunContext& run) override {
    const int64_t count = count_of(run);
    const auto [first, last] = share(run, count);
    Kernels::of(count)->give(images_.shape, count, reinterpret_cast<float*>(run.shared), run.threads, stride_,
                             scale_ ? *scale_ : 1, first, last, dw_);
  }

  std::string describe() const override { return Kernels::of(max_)->name; }

 private:
  int64_t count_of(const RunContext& run) const {
    const int64_t count = run.size(count_);
    if (count > max_) throw PlanError("more rows than there are");
    return count;
  }

  float* sums_of(const RunContext& run) const { return reinterpret_cast<float*>(run.shared) + run.thread * stride_; }
  int64_t* rows_of(const RunContext& run) const { return reinterpret_cast<int64_t*>(run.scratch); }

  uint8_t zero() const { return has_codes_ && zero_ ? code_zero(*zero_) : uint8_t{0}; }

  PlanarConvolution images_;
  bool has_codes_;
  int64_t count_, max_, stride_ = 0;
  size_t row_bytes_;
  ImagesOf<const Element> dy_, values_;
  ImagesOf<const uint8_t> codes_;
  const float *zero_, *scale_;
  const int64_t* rows_;
  float* dw_;
};

}  // namespace

StepMakers weight_gradient_steps() {
  return {
      {"weightGradient:bfloat16", make_step<WeightGradientStep<Direct>>},
      {"weightGradientWinograd", make_step<WeightGradientStep<Winograd>>},
      {"weightGradientWinograd:bfloat16", make_step<WeightGradientStep<WinogradBfloat16>>},
  };
}

}  // namespace frostbit
