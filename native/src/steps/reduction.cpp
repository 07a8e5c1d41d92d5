// Reductions, softmax and its cross-entropy.
#include <algorithm>
#include <cmath>
#include <limits>

#include "steps.h"

namespace frostbit {
namespace {

double start(Reduction op) {
  if (op == Reduction::Max) return -INFINITY;
  if (op == Reduction::Min) return INFINITY;
  return op == Reduction::Prod ? 1 : 0;
}

template <class Total>
Total next(Reduction op, Total total, Total x) {
  switch (op) {
    case Reduction::Max: return x > total || x != x ? x : total;
    case Reduction::Min: return x < total || x != x ? x : total;
    case Reduction::Prod: return total * x;
    case Reduction::L1: return total + (x < 0 ? -x : x);
    case Reduction::L2:
    case Reduction::SumSquare: return total + x * x;
    default: return total + x;
  }
}

double ended(Reduction op, double total, int64_t count) {
  if (op == Reduction::Mean) return total / static_cast<double>(count);
  return op == Reduction::L2 ? std::sqrt(total) : total;
}

/** Kept axes and reduced axes of x, each with strides; y is contiguous over the kept ones. */
struct ReductionNest {
  Reduction op;
  std::vector<int64_t> kept, kept_strides[1], reduced, reduced_strides[1];

  explicit ReductionNest(Arguments& arguments) : op(static_cast<Reduction>(arguments.size())) {
    if (op >= Reduction::Count) arguments.fail("has an unknown operation");
    kept = arguments.list(), kept_strides[0] = arguments.list();
    reduced = arguments.list(), reduced_strides[0] = arguments.list();
    if (kept.size() != kept_strides[0].size() || reduced.size() != reduced_strides[0].size())
      arguments.fail("has uneven lists");
    if (kept.empty() || reduced.empty()) arguments.fail("has empty lists");
  }

  int64_t extent_of_x(Arguments& arguments) const {
    auto sizes = kept;
    auto strides = kept_strides[0];
    sizes.insert(sizes.end(), reduced.begin(), reduced.end());
    strides.insert(strides.end(), reduced_strides[0].begin(), reduced_strides[0].end());
    const int64_t reached = extent(sizes, strides, 0, arguments);
    if (product(sizes) > reached) arguments.fail("takes elements twice");
    return reached;
  }
};

/** How a reduction goes over memory: along rows, down columns that lie side by side, or element by element. */
enum class Direction { Rows, Columns, Any };

Direction direction_of(const ReductionNest& nest) {
  if (!is_vectorized(nest.op)) return Direction::Any;
  const int64_t row = nest.reduced_strides[0].back() == 1 ? nest.reduced.back() : 1;
  const int64_t column = nest.kept_strides[0].back() == 1 ? nest.kept.back() : 1;
  if (row == 1 && column == 1) return Direction::Any;
  return row >= column ? Direction::Rows : Direction::Columns;
}

/**
 * Rows and columns go through the kernels. Where there are fewer results than threads, each thread reduces its part of what
 * makes each, and the first joins the parts.
 */
class ReduceStep : public Step {
 public:
  ReduceStep(Arguments& arguments, CompileContext& context)
      : rows_(context.kernels->rows), nest_(arguments), direction_(direction_of(nest_)) {
    x_ = arguments.place<float>(nest_.extent_of_x(arguments));
    results_ = product(nest_.kept), length_ = product(nest_.reduced);
    y_ = arguments.place<float>(results_);
    if (direction_ == Direction::Columns) {
      width_ = nest_.kept.back();
      nest_.kept.back() = (width_ + kColumns - 1) / kColumns;
      nest_.kept_strides[0].back() = kColumns;
    }
    inner_ = direction_ == Direction::Any ? 1 : nest_.reduced.back();
    step_ = nest_.reduced_strides[0].back();
    if (direction_ != Direction::Any) nest_.reduced.pop_back(), nest_.reduced_strides[0].pop_back();
    units_ = results_ == 0 ? 0 : product(nest_.kept);
    is_divided_ = direction_ != Direction::Any && units_ < context.threads && length_ >= kMin;
    if (is_divided_) parts_.resize(context.threads * results_);
  }

  int phases() const override { return is_divided_ ? 2 : 1; }

  void run(int phase, const RunContext& run) override {
    if (direction_ == Direction::Any) return run_any(run);
    if (phase == 1) return join(run);
    const Range parts = is_divided_ ? share(run, inner_, kUnit) : Range{0, inner_};
    const Range units = is_divided_ ? Range{0, units_} : share(run, units_);
    for_each_row(nest_.kept, nest_.kept_strides, units,
                 [&](int64_t unit, const int64_t* at) { reduce(run, unit, at[0], parts); });
  }

 private:
  static constexpr int64_t kUnit = 64;
  /** Elements per result that are worth dividing. */
  static constexpr int64_t kMin = 4096;

  void reduce(const RunContext& run, int64_t unit, int64_t at, Range parts) {
    const int64_t width = direction_ == Direction::Rows ? 1 : width_of(unit);
    double totals[kColumns];
    for (int64_t j = 0; j < width; j++) totals[j] = start(nest_.op);
    const Range outer{0, product(nest_.reduced)};
    const int64_t count = parts.end - parts.begin;
    for_each_row(nest_.reduced, nest_.reduced_strides, outer, [&](int64_t, const int64_t* inner) {
      const float* x = x_ + at + inner[0] + parts.begin * step_;
      if (direction_ == Direction::Rows)
        totals[0] = rows_->reduce_row(nest_.op, x, count, totals[0]);
      else
        rows_->reduce_columns(nest_.op, x, count, step_, width, totals);
    });
    const int64_t first = direction_ == Direction::Rows ? unit : first_result(unit);
    for (int64_t j = 0; j < width; j++) {
      if (is_divided_)
        parts_[run.thread * results_ + first + j] = totals[j];
      else
        y_[first + j] = static_cast<float>(ended(nest_.op, totals[j], length_));
    }
  }

  int64_t blocks() const { return nest_.kept.back(); }
  int64_t width_of(int64_t unit) const { return std::min(kColumns, width_ - unit % blocks() * kColumns); }
  int64_t first_result(int64_t unit) const { return unit / blocks() * width_ + unit % blocks() * kColumns; }

  void join(const RunContext& run) {
    if (run.thread > 0) return;
    for (int64_t i = 0; i < results_; i++) {
      double total = parts_[i];
      for (int thread = 1; thread < run.threads; thread++) {
        const double part = parts_[thread * results_ + i];
        const bool is_extreme = nest_.op == Reduction::Max || nest_.op == Reduction::Min;
        total = is_extreme ? next(nest_.op, total, part) : total + part;
      }
      y_[i] = static_cast<float>(ended(nest_.op, total, length_));
    }
  }

  void run_any(const RunContext& run) {
    for_each_row(nest_.kept, nest_.kept_strides, share(run, results_), [&](int64_t row, const int64_t* at) {
      const float* x = x_ + at[0];
      const bool is_log = nest_.op == Reduction::LogSumExp;
      double largest = -INFINITY, total = start(nest_.op);
      if (is_log) visit(x, [&](double value) { largest = std::max(largest, value); });
      const double origin = std::isfinite(largest) ? largest : 0;
      visit(x, [&](double value) { total = is_log ? total + std::exp(value - origin) : next(nest_.op, total, value); });
      y_[row] = static_cast<float>(is_log ? origin + std::log(total) : ended(nest_.op, total, length_));
    });
  }

  template <class Visit>
  void visit(const float* x, Visit visit) const {
    for_each_row(nest_.reduced, nest_.reduced_strides, {0, length_},
                 [&](int64_t, const int64_t* inner) { visit(static_cast<double>(x[inner[0]])); });
  }

  const RowKernels* rows_;
  ReductionNest nest_;
  Direction direction_;
  int64_t results_, length_, inner_, step_, units_, width_ = 1;
  bool is_divided_;
  std::vector<double> parts_;
  float *x_, *y_;
};

/** Of whole numbers; a mean is cut towards zero. */
template <class T>
class ReduceIntegersStep : public Step {
 public:
  ReduceIntegersStep(Arguments& arguments, CompileContext&) : nest_(arguments) {
    if (nest_.op == Reduction::L2 || nest_.op == Reduction::LogSumExp) arguments.fail("is no reduction of integers");
    x_ = arguments.place<T>(nest_.extent_of_x(arguments));
    y_ = arguments.place<T>(product(nest_.kept));
  }

  void run(int, const RunContext& run) override {
    const int64_t length = product(nest_.reduced);
    for_each_row(nest_.kept, nest_.kept_strides, share(run, product(nest_.kept)), [&](int64_t row, const int64_t* at) {
      int64_t total = first();
      for_each_row(nest_.reduced, nest_.reduced_strides, {0, length},
                   [&](int64_t, const int64_t* inner) { total = next<int64_t>(nest_.op, total, x_[at[0] + inner[0]]); });
      y_[row] = static_cast<T>(nest_.op == Reduction::Mean && length > 0 ? total / length : total);
    });
  }

 private:
  int64_t first() const {
    if (nest_.op == Reduction::Max) return std::numeric_limits<int64_t>::min();
    if (nest_.op == Reduction::Min) return std::numeric_limits<int64_t>::max();
    return nest_.op == Reduction::Prod ? 1 : 0;
  }

  ReductionNest nest_;
  T *x_, *y_;
};

/** log Σ exp over `size` elements `step` apart, and their maximum. */
double log_sum(const float* x, int64_t size, int64_t step, double& highest) {
  highest = -INFINITY;
  for (int64_t i = 0; i < size; i++) highest = std::max<double>(highest, x[i * step]);
  double sum = 0;
  for (int64_t i = 0; i < size; i++) sum += std::exp(x[i * step] - highest);
  return std::log(sum) + highest;
}

template <bool is_log>
class SoftmaxStep : public Step {
 public:
  SoftmaxStep(Arguments& arguments, CompileContext& context)
      : rows_(context.kernels->rows), outer_(arguments.size()), size_(arguments.size()), inner_(arguments.size()) {
    x_ = arguments.place<float>(outer_, size_, inner_);
    y_ = arguments.place<float>(outer_, size_, inner_);
  }

  void run(int, const RunContext& run) override {
    if (size_ == 0) return;
    const auto [begin, end] = share(run, outer_ * inner_);
    for (int64_t i = begin; i < end; i++) {
      const int64_t at = i / inner_ * size_ * inner_ + i % inner_;
      if (inner_ == 1) {
        rows_->softmax(x_ + at, y_ + at, size_, is_log);
        continue;
      }
      double highest;
      const double log = log_sum(x_ + at, size_, inner_, highest);
      for (int64_t j = 0; j < size_; j++) {
        const double value = x_[at + j * inner_] - log;
        y_[at + j * inner_] = static_cast<float>(is_log ? value : std::exp(value));
      }
    }
  }

 private:
  const RowKernels* rows_;
  int64_t outer_, size_, inner_;
  float *x_, *y_;
};

/** Mean of −log softmax(x)[label] over the labels that are not ignored; log softmax where it is wanted. */
class CrossEntropyStep : public Step {
 public:
  CrossEntropyStep(Arguments& arguments, CompileContext& context)
      : outer_(arguments.size()), size_(arguments.size()), inner_(arguments.size()), sums_(context.threads * 8) {
    ignores_ = arguments.integer() != 0;
    ignored_ = arguments.integer();
    x_ = arguments.place<float>(outer_, size_, inner_);
    labels_ = arguments.place<int64_t>(outer_, inner_);
    loss_ = arguments.place<float>(1);
    log_probability_ = arguments.optional<float>(outer_, size_, inner_);
  }

  int phases() const override { return 2; }

  void run(int phase, const RunContext& run) override {
    if (phase == 0) return add_up(run);
    if (run.thread > 0) return;
    double total = 0, count = 0;
    for (int thread = 0; thread < run.threads; thread++) {
      total += sums_[thread * 8];
      count += sums_[thread * 8 + 1];
    }
    *loss_ = static_cast<float>(total / std::max(1.0, count));
  }

 private:
  void add_up(const RunContext& run) {
    double total = 0, count = 0;
    const auto [begin, end] = share(run, outer_ * inner_);
    for (int64_t i = begin; i < end; i++) {
      const int64_t at = i / inner_ * size_ * inner_ + i % inner_;
      const int64_t label = labels_[i];
      const bool counts = !ignores_ || label != ignored_;
      if (counts && (label < 0 || label >= size_))
        throw PlanError("label " + std::to_string(label) + " at " + std::to_string(i) + " is outside 0 to " +
                        std::to_string(size_ - 1));
      double highest;
      const double log = log_sum(x_ + at, size_, inner_, highest);
      if (counts) {
        total += log - x_[at + label * inner_];
        count++;
      }
      if (!log_probability_) continue;
      for (int64_t j = at; j < at + size_ * inner_; j += inner_) log_probability_[j] = static_cast<float>(x_[j] - log);
    }
    sums_[run.thread * 8] = total;
    sums_[run.thread * 8 + 1] = count;
  }

  int64_t outer_, size_, inner_, ignored_;
  bool ignores_;
  float *x_, *loss_, *log_probability_;
  int64_t* labels_;
  std::vector<double> sums_;
};

}  // namespace

StepMakers reduction_steps() {
  return {
      {"reduce", make_step<ReduceStep>},
      {"reduce:int64", make_step<ReduceIntegersStep<int64_t>>},
      {"reduce:int32", make_step<ReduceIntegersStep<int32_t>>},
      {"softmax", make_step<SoftmaxStep<false>>},
      {"logSoftmax", make_step<SoftmaxStep<true>>},
      {"crossEntropy", make_step<CrossEntropyStep>},
  };
}

}  // namespace frostbit
