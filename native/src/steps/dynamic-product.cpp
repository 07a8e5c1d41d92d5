// Products whose first operand is rounded to 8 bits as it is multiplied, each row in steps of its own: an input's gradient from
// the gradient of the output and the weights' codes.
#include <type_traits>

#include "../matrix-product.h"
#include "steps.h"

namespace frostbit {
namespace {

/** Rows or columns of y that one thread takes at a time. */
constexpr int64_t kUnit = 16;

/** Bytes of the codes and sums that a thread has at a time: for fewer rows oneDNN packs the weights too often. */
constexpr int64_t kBlockBytes = 2 << 20;
constexpr int64_t kMinRows = 64;

/** y = (x · scale) w, where w are codes and scale is one number for each of their rows, or for all. */
template <class Y>
class DynamicProductStep : public Step {
 public:
  DynamicProductStep(Arguments& arguments, CompileContext& context)
      : kernels_(*context.kernels),
        m_(arguments.size()),
        n_(arguments.size()),
        k_(arguments.size()),
        x_step_(arguments.size()),
        is_w_transposed_(arguments.integer() != 0),
        scales_(arguments.size()) {
    if (x_step_ < k_) arguments.fail("has rows that overlap");
    if (scales_ != 1 && scales_ != k_) arguments.fail("has scales that fit no rows");
    x_ = arguments.place<uint16_t>(extent({m_, k_}, {x_step_, 1}, 0, arguments));
    w_ = arguments.place<int8_t>(k_, n_);
    scale_ = arguments.place<float>(scales_);
    y_ = arguments.place<Y>(m_, n_);
    rows_ = std::min(m_, std::max(kMinRows, kBlockBytes / std::max<int64_t>(1, k_ + 4 * n_) / kUnit * kUnit));
    context.want_scratch(codes_at() + aligned(product({rows_, k_})));
  }

  void run(int, const RunContext& run) override {
    const bool is_by_row = m_ >= run.threads * kUnit || m_ >= n_;
    const Range rows = is_by_row ? share(run, m_, kUnit) : Range{0, m_};
    const Range columns = is_by_row ? Range{0, n_} : share(run, n_, kUnit);
    if (rows.begin == rows.end || columns.begin == columns.end) return;
    char* scratch = static_cast<char*>(run.scratch);
    auto* factors = reinterpret_cast<float*>(scratch + factors_at());
    for (int64_t i = 0; i < k_; i++) factors[i] = scale_[scales_ == 1 ? 0 : i];
    for (int64_t row = rows.begin; row < rows.end; row += rows_)
      work({row, std::min(row + rows_, rows.end)}, columns, factors, scratch);
  }

 private:
  static constexpr bool is_rounded = std::is_same_v<Y, uint16_t>;
  /** The code of 0. */
  static constexpr uint8_t kZero = 128;

  size_t steps_at() const { return aligned(product({rows_, n_, int64_t{sizeof(int32_t)}})); }
  size_t factors_at() const { return steps_at() + aligned(rows_ * sizeof(float)); }
  size_t row_at() const { return factors_at() + aligned(k_ * sizeof(float)); }
  size_t codes_at() const { return row_at() + aligned(n_ * sizeof(float)); }

  void work(Range rows, Range columns, const float* factors, char* scratch) const {
    auto* sums = reinterpret_cast<int32_t*>(scratch);
    auto* steps = reinterpret_cast<float*>(scratch + steps_at());
    auto* row = reinterpret_cast<float*>(scratch + row_at());
    auto* codes = reinterpret_cast<uint8_t*>(scratch + codes_at());
    const int64_t count = rows.end - rows.begin, width = columns.end - columns.begin;
    for (int64_t i = 0; i < count; i++)
      steps[i] = kernels_.quantize_gradient(x_ + (rows.begin + i) * x_step_, factors, codes + i * k_, k_);
    const Matrix<int8_t> w{w_, is_w_transposed_, is_w_transposed_ ? k_ : n_};
    multiply({count, width, k_}, {1, false, kZero}, Matrix<uint8_t>{codes, false, k_}, w.from_column(columns.begin),
             Matrix<int32_t>{sums, false, width});
    for (int64_t i = 0; i < count; i++) {
      Y* y = y_ + (rows.begin + i) * n_ + columns.begin;
      if constexpr (is_rounded) {
        kernels_.scale_sums(sums + i * width, row, width, steps[i]);
        kernels_.narrow_bfloat16(row, y, width);
      } else {
        kernels_.scale_sums(sums + i * width, y, width, steps[i]);
      }
    }
  }

  const Kernels& kernels_;
  int64_t m_, n_, k_, x_step_;
  bool is_w_transposed_;
  int64_t scales_;
  uint16_t* x_;
  int8_t* w_;
  float* scale_;
  Y* y_;
  int64_t rows_;
};

}  // namespace

StepMakers dynamic_product_steps() {
  return {
      {"product:dynamic", make_step<DynamicProductStep<float>>},
      {"product:dynamic:rounded", make_step<DynamicProductStep<uint16_t>>},
  };
}

}  // namespace frostbit
