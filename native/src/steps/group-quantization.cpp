// Fake quantization and its gradient where groups of indices along an axis share a quantizer.
#include "steps.h"

namespace frostbit {
namespace {

/**
 * x is [outer, size, inner, window]; element [o, i, n, k] has the quantizer [o or 0, i / group, n]. What one (o, i / group) has
 * lies together.
 */
struct Groups {
  int64_t outer, size, inner, window, group, groups;
  /** Whether each outer index has quantizers of its own. */
  bool keeps_outer;

  explicit Groups(Arguments& arguments)
      : outer(arguments.size()),
        size(arguments.size()),
        inner(arguments.size()),
        window(arguments.size()),
        group(arguments.size()),
        keeps_outer(arguments.size() != 0) {
    if (group == 0) arguments.fail("has groups of nothing");
    groups = size / group + (size % group != 0);
  }

  /** Of a group, the last of which may be smaller. */
  int64_t length(int64_t g) const { return std::min(group, size - g * group); }
};

struct Qparams {
  float *scale, *zero_point, *low, *high;

  Qparams(Arguments& arguments, const Groups& is)
      : scale(arguments.place<float>(is.keeps_outer ? is.outer : 1, is.groups, is.inner)),
        zero_point(arguments.optional<float>(is.keeps_outer ? is.outer : 1, is.groups, is.inner)),
        low(arguments.place<float>(1)),
        high(arguments.place<float>(1)) {}

  Quantizer of(int64_t at) const {
    return {scale[at], zero_point ? rounded_zero_point(zero_point[at], *low, *high) : 0.0f, *low, *high};
  }
};

/** Quantizers in a row, zero points as they are used. */
struct RowOfQuantizers {
  std::vector<float> scale, zero_point;
  float low, high;

  /** Those at `at(i)` for i below `count`. */
  template <class At>
  RowOfQuantizers(const Qparams& qparams, int64_t count, At at)
      : scale(count), zero_point(count), low(*qparams.low), high(*qparams.high) {
    for (int64_t i = 0; i < count; i++) {
      const Quantizer quantizer = qparams.of(at(i));
      scale[i] = quantizer.scale;
      zero_point[i] = quantizer.zero_point;
    }
  }

  EachQuantizer each() const { return {scale.data(), zero_point.data(), low, high}; }
};

class FakeQuantizeGroupsStep : public Step {
 public:
  FakeQuantizeGroupsStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels),
        is_(arguments),
        x_(arguments.place<float>(is_.outer, is_.size, is_.inner, is_.window)),
        qparams_(arguments, is_),
        y_(arguments.place<float>(is_.outer, is_.size, is_.inner, is_.window)) {}

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, is_.outer * is_.groups);
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t o = unit / is_.groups, g = unit % is_.groups;
      const int64_t at = (o * is_.size + g * is_.group) * is_.inner * is_.window;
      run_group(x_ + at, y_ + at, ((is_.keeps_outer ? o : 0) * is_.groups + g) * is_.inner, is_.length(g));
    }
  }

 private:
  void run_group(const float* x, float* y, int64_t first, int64_t length) const {
    const int64_t width = is_.inner * is_.window;
    if (is_.inner == 1) return kernels_->fake_quantize(x, y, length * width, qparams_.of(first));
    if (is_.window == 1) {
      const RowOfQuantizers quantizers(qparams_, is_.inner, [&](int64_t n) { return first + n; });
      for (int64_t i = 0; i < length; i++)
        kernels_->rows->fake_quantize_each(x + i * width, y + i * width, width, quantizers.each());
      return;
    }
    for (int64_t n = 0; n < is_.inner; n++) {
      const Quantizer quantizer = qparams_.of(first + n);
      for (int64_t i = 0; i < length; i++) {
        const int64_t at = i * width + n * is_.window;
        kernels_->fake_quantize(x + at, y + at, is_.window, quantizer);
      }
    }
  }

  const Kernels* kernels_;
  Groups is_;
  float* x_;
  Qparams qparams_;
  float* y_;
};

/** Where rows train, dy, dx, dscale and dzeroPoint hold `count` of them, along the outer or the inner axis. */
class FakeQuantizeGroupsGradientStep : public Step {
 public:
  FakeQuantizeGroupsGradientStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels),
        is_(arguments),
        along_(along_of(arguments)),
        count_(arguments.integer()),
        max_(arguments.size()),
        max_outer_(along_ == Along::kOuter ? max_ : is_.outer),
        max_inner_(along_ == Along::kInner ? max_ : is_.inner),
        dy_(arguments.place<float>(max_outer_, is_.size, max_inner_, is_.window)),
        x_(arguments.place<float>(is_.outer, is_.size, is_.inner, is_.window)),
        qparams_(arguments, is_),
        rows_(arguments.optional<int64_t>(along_ == Along::kNone ? 0 : max_)),
        dx_(arguments.optional<float>(max_outer_, is_.size, max_inner_, is_.window)),
        dscale_(arguments.optional<float>(is_.keeps_outer ? max_outer_ : 1, is_.groups, max_inner_)),
        dzero_point_(arguments.optional<float>(is_.keeps_outer ? max_outer_ : 1, is_.groups, max_inner_)) {
    if (along_ == Along::kOuter && !is_.keeps_outer) arguments.fail("has rows that share quantizers");
    if (along_ != Along::kNone && !rows_ && max_ > 0) arguments.fail("has no rows");
  }

  void run(int, const RunContext& run) override {
    const int64_t count = along_ == Along::kNone ? 0 : run.size(count_);
    if (count > max_) throw PlanError("more rows than there are");
    const int64_t outer = along_ == Along::kOuter ? count : is_.outer;
    const int64_t inner = along_ == Along::kInner ? count : is_.inner;
    const auto [begin, end] = share(run, (is_.keeps_outer ? outer : 1) * is_.groups);
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t o = unit / is_.groups, g = unit % is_.groups;
      const Range of = is_.keeps_outer ? Range{o, o + 1} : Range{0, outer};
      if (along_ != Along::kInner && is_.inner == 1)
        run_one(of, g);
      else if (is_.window == 1)
        run_columns(of, g, inner);
      else
        run_windows(of, g, inner);
    }
  }

 private:
  enum class Along : int64_t { kNone, kOuter, kInner };

  static Along along_of(Arguments& arguments) {
    const int64_t along = arguments.size();
    if (along > 2) arguments.fail("has rows along no axis");
    return static_cast<Along>(along);
  }

  int64_t outer_of(int64_t o) const { return along_ == Along::kOuter ? checked_row(rows_[o], is_.outer) : o; }
  int64_t inner_of(int64_t n) const { return along_ == Along::kInner ? checked_row(rows_[n], is_.inner) : n; }

  /** Where a group begins, and its first quantizer, in what holds all rows and in what holds `inner` of them. */
  int64_t start(int64_t o, int64_t g, int64_t inner) const { return (o * is_.size + g * is_.group) * inner * is_.window; }
  int64_t first(int64_t o, int64_t g, int64_t inner) const { return ((is_.keeps_outer ? o : 0) * is_.groups + g) * inner; }

  float* dx(int64_t at) const { return dx_ ? dx_ + at : nullptr; }

  void give(int64_t at, double dscale, double dzero_point) {
    if (dscale_) dscale_[at] = static_cast<float>(dscale);
    if (dzero_point_) dzero_point_[at] = static_cast<float>(dzero_point);
  }

  /** One quantizer for all of a group. */
  void run_one(Range outer, int64_t g) {
    double sums[2] = {};
    for (int64_t o = outer.begin; o < outer.end; o++) {
      const int64_t to = start(o, g, 1);
      kernels_->fake_quantize_gradient(dy_ + to, x_ + start(outer_of(o), g, 1), dx(to), is_.length(g) * is_.window,
                                       qparams_.of(first(outer_of(o), g, 1)), sums);
    }
    give(first(outer.begin, g, 1), sums[0], sums[1]);
  }

  /** A quantizer for each column; sums are float32 over some rows, then double. */
  void run_columns(Range outer, int64_t g, int64_t inner) {
    std::vector<int64_t> chosen(inner);
    for (int64_t n = 0; n < inner; n++) chosen[n] = inner_of(n);
    std::vector<float> sums(2 * inner), gathered(along_ == Along::kInner ? inner : 0);
    std::vector<double> totals(2 * inner);
    for (int64_t o = outer.begin; o < outer.end; o++) {
      const int64_t from = outer_of(o);
      const RowOfQuantizers quantizers(qparams_, inner, [&](int64_t n) { return first(from, g, is_.inner) + chosen[n]; });
      const int64_t length = is_.length(g);
      for (int64_t i = 0; i < length; i++) {
        const float* x = x_ + start(from, g, is_.inner) + i * is_.inner;
        for (size_t n = 0; n < gathered.size(); n++) gathered[n] = x[chosen[n]];
        const int64_t to = start(o, g, inner) + i * inner;
        kernels_->rows->fake_quantize_gradient_each(dy_ + to, gathered.empty() ? x : gathered.data(), dx(to), inner,
                                                    quantizers.each(), sums.data(), sums.data() + inner);
        if (i % kSumRows != kSumRows - 1 && i != length - 1) continue;
        for (int64_t n = 0; n < 2 * inner; n++) totals[n] += sums[n], sums[n] = 0;
      }
    }
    for (int64_t n = 0; n < inner; n++) give(first(outer.begin, g, inner) + n, totals[n], totals[inner + n]);
  }

  void run_windows(Range outer, int64_t g, int64_t inner) {
    for (int64_t n = 0; n < inner; n++) {
      const int64_t column = inner_of(n);
      double sums[2] = {};
      for (int64_t o = outer.begin; o < outer.end; o++) {
        const int64_t row = outer_of(o);
        const Quantizer quantizer = qparams_.of(first(row, g, is_.inner) + column);
        for (int64_t i = 0; i < is_.length(g); i++) {
          const int64_t to = start(o, g, inner) + (i * inner + n) * is_.window;
          const int64_t from = start(row, g, is_.inner) + (i * is_.inner + column) * is_.window;
          kernels_->fake_quantize_gradient(dy_ + to, x_ + from, dx(to), is_.window, quantizer, sums);
        }
      }
      give(first(outer.begin, g, inner) + n, sums[0], sums[1]);
    }
  }

  static constexpr int64_t kSumRows = 64;

  const Kernels* kernels_;
  Groups is_;
  Along along_;
  int64_t count_, max_, max_outer_, max_inner_;
  float *dy_, *x_;
  Qparams qparams_;
  int64_t* rows_;
  float *dx_, *dscale_, *dzero_point_;
};

}  // namespace

StepMakers group_quantization_steps() {
  return {
      {"fakeQuantizeGroups", make_step<FakeQuantizeGroupsStep>},
      {"fakeQuantizeGroupsGradient", make_step<FakeQuantizeGroupsGradientStep>},
  };
}

}  // namespace frostbit
