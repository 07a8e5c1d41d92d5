// Fake quantization and its gradient over [outer, size, inner], with one quantizer per index of `size`.
#include <cmath>

#include "steps.h"

namespace frostbit {
namespace {

constexpr int64_t kUnit = 16;

struct Qparams {
  float *scale, *zero_point, *low, *high;

  Qparams(Arguments& arguments, int64_t size)
      : scale(arguments.place<float>(size)),
        zero_point(arguments.optional<float>(size)),
        low(arguments.place<float>(1)),
        high(arguments.place<float>(1)) {}

  Quantizer of(int64_t row) const {
    return {scale[row], zero_point ? rounded_zero_point(zero_point[row], *low, *high) : 0.0f, *low, *high};
  }
};

/** How many columns a thread takes at a time, and the fewest that are worth a row's loops. */
constexpr int64_t kFewColumns = 16;

/** The columns' quantizers in a row, zero points as they are used. */
struct ColumnQuantizers {
  std::vector<float> scale, zero_point;
  float low, high;

  /** Of the columns that `row(i)` gives for i in the range. */
  template <class Row>
  ColumnQuantizers(const Qparams& qparams, Range range, Row row) : low(*qparams.low), high(*qparams.high) {
    for (int64_t i = range.begin; i < range.end; i++) {
      const Quantizer quantizer = qparams.of(row(i));
      scale.push_back(quantizer.scale);
      zero_point.push_back(quantizer.zero_point);
    }
  }

  EachQuantizer each() const { return {scale.data(), zero_point.data(), low, high}; }
};

class FakeQuantizeStep : public Step {
 public:
  FakeQuantizeStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels),
        outer_(arguments.size()),
        size_(arguments.size()),
        inner_(arguments.size()),
        x_(arguments.place<float>(outer_, size_, inner_)),
        qparams_(arguments, size_),
        y_(arguments.place<float>(outer_, size_, inner_)) {}

  void run(int, const RunContext& run) override {
    if (outer_ * size_ == 1) {
      const auto [begin, end] = share(run, inner_, kUnit);
      kernels_->fake_quantize(x_ + begin, y_ + begin, end - begin, qparams_.of(0));
      return;
    }
    if (inner_ == 1) return run_columns(share(run, size_, kFewColumns));
    const auto [begin, end] = share(run, outer_ * size_);
    for (int64_t i = begin; i < end; i++)
      kernels_->fake_quantize(x_ + i * inner_, y_ + i * inner_, inner_, qparams_.of(i % size_));
  }

 private:
  void run_columns(Range columns) const {
    const ColumnQuantizers quantizers(qparams_, columns, [](int64_t i) { return i; });
    for (int64_t o = 0; o < outer_; o++) {
      const int64_t at = o * size_ + columns.begin;
      kernels_->rows->fake_quantize_each(x_ + at, y_ + at, columns.end - columns.begin, quantizers.each());
    }
  }

  const Kernels* kernels_;
  int64_t outer_, size_, inner_;
  float* x_;
  Qparams qparams_;
  float* y_;
};

/**
 * Weights' codes around zero, a quantizer per row, and the scales to read them with: one that is not a number where a weight is
 * none, so that it is seen in the results.
 */
class QuantizeRowsStep : public Step {
 public:
  QuantizeRowsStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels), outer_(arguments.size()), size_(arguments.size()), inner_(arguments.size()) {
    if (outer_ != 1 && inner_ != 1) arguments.fail("has rows that do not lie together");
    x_ = arguments.place<float>(outer_, size_, inner_);
    scale_ = arguments.place<float>(size_);
    low_ = arguments.place<float>(1);
    high_ = arguments.place<float>(1);
    y_ = arguments.place<int8_t>(outer_, size_, inner_);
    read_scale_ = arguments.place<float>(size_);
  }

  void run(int, const RunContext& run) override {
    if (outer_ != 1) return run_columns(share(run, size_, kFewColumns));
    const auto [begin, end] = share(run, size_);
    for (int64_t row = begin; row < end; row++) {
      int8_t* y = y_ + row * inner_;
      const bool is_odd =
          kernels_->quantize(x_ + row * inner_, reinterpret_cast<uint8_t*>(y), inner_, {scale_[row], 0.0f, *low_, *high_});
      const int low = static_cast<int>(*low_);
      for (int64_t i = 0; i < inner_; i++) y[i] = static_cast<int8_t>(static_cast<uint8_t>(y[i]) + low);
      read_scale_[row] = is_odd ? std::nanf("") : scale_[row];
    }
  }

 private:
  void run_columns(Range columns) const {
    const std::vector<float> zeros(columns.end - columns.begin, 0.0f);
    const EachQuantizer quantizers{scale_ + columns.begin, zeros.data(), *low_, *high_};
    for (int64_t i = columns.begin; i < columns.end; i++) read_scale_[i] = scale_[i];
    for (int64_t o = 0; o < outer_; o++) {
      const float* x = x_ + o * size_;
      if (!kernels_->rows->quantize_each(x + columns.begin, y_ + o * size_ + columns.begin, columns.end - columns.begin,
                                         quantizers))
        continue;
      for (int64_t i = columns.begin; i < columns.end; i++)
        if (x[i] != x[i]) read_scale_[i] = std::nanf("");
    }
  }

  const Kernels* kernels_;
  int64_t outer_, size_, inner_;
  float *x_, *scale_, *low_, *high_;
  int8_t* y_;
  float* read_scale_;
};

/** With one quantizer the elements are divided among the threads, else the rows are. */
class FakeQuantizeGradientStep : public Step {
 public:
  FakeQuantizeGradientStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels),
        outer_(arguments.size()),
        size_(arguments.size()),
        inner_(arguments.size()),
        count_(arguments.integer()),
        max_(arguments.size()),
        dy_(arguments.place<float>(outer_, max_, inner_)),
        x_(arguments.place<float>(outer_, size_, inner_)),
        qparams_(arguments, size_),
        rows_(arguments.optional<int64_t>(max_)),
        dx_(arguments.optional<float>(outer_, max_, inner_)),
        dscale_(arguments.optional<float>(max_)),
        dzero_point_(arguments.optional<float>(max_)),
        sums_(context.threads * kSumStride) {
    if (!rows_ && (count_ != size_ || max_ < size_)) arguments.fail("has no rows");
  }

  int phases() const override { return is_one() ? 2 : 1; }

  void run(int phase, const RunContext& run) override {
    if (!is_one()) return run_rows(run);
    double* sums = &sums_[run.thread * kSumStride];
    if (phase == 0) {
      sums[0] = sums[1] = 0;
      const auto [begin, end] = share(run, inner_, kUnit);
      kernels_->fake_quantize_gradient(dy_ + begin, x_ + begin, dx_ ? dx_ + begin : nullptr, end - begin, qparams_.of(0), sums);
      return;
    }
    if (run.thread > 0) return;
    double total[2] = {};
    for (int thread = 0; thread < run.threads; thread++)
      for (int i = 0; i < 2; i++) total[i] += sums_[thread * kSumStride + i];
    give(0, total);
  }

 private:
  /** A cache line apart. */
  static constexpr int kSumStride = 8;

  bool is_one() const { return outer_ * size_ == 1 && !rows_; }

  void give(int64_t row, const double* sums) {
    if (dscale_) dscale_[row] = static_cast<float>(sums[0]);
    if (dzero_point_) dzero_point_[row] = static_cast<float>(sums[1]);
  }

  void run_rows(const RunContext& run) {
    const int64_t count = run.size(count_);
    if (count > max_) throw PlanError("more rows than there are");
    if (inner_ == 1) return run_columns(share(run, count, kFewColumns), count);
    const auto [begin, end] = share(run, count);
    for (int64_t r = begin; r < end; r++) {
      const int64_t row = rows_ ? checked_row(rows_[r], size_) : r;
      const Quantizer quantizer = qparams_.of(row);
      double sums[2] = {};
      for (int64_t o = 0; o < outer_; o++) {
        const int64_t to = (o * count + r) * inner_;
        kernels_->fake_quantize_gradient(dy_ + to, x_ + (o * size_ + row) * inner_, dx_ ? dx_ + to : nullptr, inner_, quantizer,
                                         sums);
      }
      give(r, sums);
    }
  }

  /** Row by row of memory; sums are float32 over some rows, then double. */
  void run_columns(Range columns, int64_t count) {
    const int64_t width = columns.end - columns.begin;
    const auto column = [&](int64_t i) { return rows_ ? checked_row(rows_[i], size_) : i; };
    const ColumnQuantizers quantizers(qparams_, columns, column);
    std::vector<float> sums(2 * width), gathered(rows_ ? width : 0);
    std::vector<double> totals(2 * width);
    std::vector<int64_t> chosen;
    for (int64_t i = columns.begin; rows_ && i < columns.end; i++) chosen.push_back(column(i));
    for (int64_t o = 0; o < outer_; o++) {
      const float* x = x_ + o * size_ + (rows_ ? 0 : columns.begin);
      for (int64_t i = 0; rows_ && i < width; i++) gathered[i] = x[chosen[i]];
      const int64_t to = o * count + columns.begin;
      kernels_->rows->fake_quantize_gradient_each(dy_ + to, rows_ ? gathered.data() : x, dx_ ? dx_ + to : nullptr, width,
                                                  quantizers.each(), sums.data(), sums.data() + width);
      if (o % kSumRows != kSumRows - 1 && o != outer_ - 1) continue;
      for (int64_t i = 0; i < 2 * width; i++) totals[i] += sums[i], sums[i] = 0;
    }
    for (int64_t i = 0; i < width; i++) {
      const double both[] = {totals[i], totals[width + i]};
      give(columns.begin + i, both);
    }
  }

  static constexpr int64_t kSumRows = 64;

  const Kernels* kernels_;
  int64_t outer_, size_, inner_, count_, max_;
  float *dy_, *x_;
  Qparams qparams_;
  int64_t* rows_;
  float *dx_, *dscale_, *dzero_point_;
  std::vector<double> sums_;
};

}  // namespace

StepMakers quantization_steps() {
  return {
      {"fakeQuantize", make_step<FakeQuantizeStep>},
      {"quantizeRows", make_step<QuantizeRowsStep>},
      {"fakeQuantizeGradient", make_step<FakeQuantizeGradientStep>},
  };
}

}  // namespace frostbit
