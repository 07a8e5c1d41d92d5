// Reductions, softmax and its cross-entropy.
#include <algorithm>
#include <cmath>

#include "steps.h"

namespace frostbit {
namespace {

/** Numbered as src/engines/native/lowerings/reduction.ts numbers them. */
enum class Reduction : int64_t { Sum, Mean, Max, Min, SumSquare, L1, L2, Prod, Count };

double start(Reduction op) {
  if (op == Reduction::Max) return -INFINITY;
  if (op == Reduction::Min) return INFINITY;
  return op == Reduction::Prod ? 1 : 0;
}

double next(Reduction op, double total, double x) {
  switch (op) {
    case Reduction::Max: return std::max(total, x);
    case Reduction::Min: return std::min(total, x);
    case Reduction::Prod: return total * x;
    case Reduction::L1: return total + std::fabs(x);
    case Reduction::L2:
    case Reduction::SumSquare: return total + x * x;
    default: return total + x;
  }
}

/** Kept axes and reduced axes of x, each with strides; y is contiguous over the kept ones. */
class ReduceStep : public Step {
 public:
  ReduceStep(Arguments& arguments, CompileContext&) : op_(static_cast<Reduction>(arguments.size())) {
    if (op_ >= Reduction::Count) arguments.fail("has an unknown operation");
    kept_ = arguments.list(), kept_strides_[0] = arguments.list();
    reduced_ = arguments.list(), reduced_strides_[0] = arguments.list();
    if (kept_.size() != kept_strides_[0].size() || reduced_.size() != reduced_strides_[0].size())
      arguments.fail("has uneven lists");
    auto sizes = kept_;
    auto strides = kept_strides_[0];
    sizes.insert(sizes.end(), reduced_.begin(), reduced_.end());
    strides.insert(strides.end(), reduced_strides_[0].begin(), reduced_strides_[0].end());
    x_ = arguments.place<float>(extent(sizes, strides, 0, arguments));
    y_ = arguments.place<float>(product(kept_));
    length_ = product(reduced_);
  }

  void run(int, const RunContext& run) override {
    for_each_row(kept_, kept_strides_, share(run, product(kept_)), [&](int64_t row, const int64_t* at) {
      double total = start(op_);
      for_each_row(reduced_, reduced_strides_, {0, length_},
                   [&](int64_t, const int64_t* inner) { total = next(op_, total, x_[at[0] + inner[0]]); });
      if (op_ == Reduction::Mean) total /= static_cast<double>(length_);
      if (op_ == Reduction::L2) total = std::sqrt(total);
      y_[row] = static_cast<float>(total);
    });
  }

 private:
  Reduction op_;
  std::vector<int64_t> kept_, kept_strides_[1], reduced_, reduced_strides_[1];
  int64_t length_;
  float *x_, *y_;
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
  SoftmaxStep(Arguments& arguments, CompileContext&)
      : outer_(arguments.size()), size_(arguments.size()), inner_(arguments.size()) {
    x_ = arguments.place<float>(outer_, size_, inner_);
    y_ = arguments.place<float>(outer_, size_, inner_);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, outer_ * inner_);
    for (int64_t i = begin; i < end; i++) {
      const int64_t at = i / inner_ * size_ * inner_ + i % inner_;
      double highest;
      const double log = log_sum(x_ + at, size_, inner_, highest);
      for (int64_t j = 0; j < size_; j++) {
        const double value = x_[at + j * inner_] - log;
        y_[at + j * inner_] = static_cast<float>(is_log ? value : std::exp(value));
      }
    }
  }

 private:
  int64_t outer_, size_, inner_;
  float *x_, *y_;
};

/** Mean of −log softmax(x)[label]; log softmax where it is wanted. */
class CrossEntropyStep : public Step {
 public:
  CrossEntropyStep(Arguments& arguments, CompileContext& context)
      : outer_(arguments.size()), size_(arguments.size()), inner_(arguments.size()), sums_(context.threads * 8) {
    x_ = arguments.place<float>(outer_, size_, inner_);
    labels_ = arguments.place<int64_t>(outer_, inner_);
    loss_ = arguments.place<float>(1);
    log_probability_ = arguments.optional<float>(outer_, size_, inner_);
  }

  int phases() const override { return 2; }

  void run(int phase, const RunContext& run) override {
    if (phase == 0) return add_up(run);
    if (run.thread > 0) return;
    double total = 0;
    for (int thread = 0; thread < run.threads; thread++) total += sums_[thread * 8];
    *loss_ = static_cast<float>(total / static_cast<double>(outer_ * inner_));
  }

 private:
  void add_up(const RunContext& run) {
    double total = 0;
    const auto [begin, end] = share(run, outer_ * inner_);
    for (int64_t i = begin; i < end; i++) {
      const int64_t at = i / inner_ * size_ * inner_ + i % inner_;
      const int64_t label = labels_[i];
      if (label < 0 || label >= size_)
        throw PlanError("label " + std::to_string(label) + " at " + std::to_string(i) + " is outside 0 to " +
                        std::to_string(size_ - 1));
      double highest;
      const double log = log_sum(x_ + at, size_, inner_, highest);
      total += log - x_[at + label * inner_];
      if (!log_probability_) continue;
      for (int64_t j = at; j < at + size_ * inner_; j += inner_) log_probability_[j] = static_cast<float>(x_[j] - log);
    }
    sums_[run.thread * 8] = total;
  }

  int64_t outer_, size_, inner_;
  float *x_, *loss_, *log_probability_;
  int64_t* labels_;
  std::vector<double> sums_;
};

}  // namespace

StepMakers reduction_steps() {
  return {
      {"reduce", make_step<ReduceStep>},
      {"softmax", make_step<SoftmaxStep<false>>},
      {"logSoftmax", make_step<SoftmaxStep<true>>},
      {"crossEntropy", make_step<CrossEntropyStep>},
  };
}

}  // namespace frostbit
