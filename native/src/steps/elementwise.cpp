// Element by element: contiguous operands through the kernels, broadcast ones row by row.
#include "steps.h"

namespace frostbit {
namespace {

/** Enough elements for a vector, so that threads split at whole ones. */
constexpr int64_t kUnit = 16;

/** Sizes, of which some may be known only at the run; their product is at most `most`. */
struct Count {
  std::vector<int64_t> sizes;
  int64_t max;

  explicit Count(Arguments& arguments) : sizes(arguments.list()), max(arguments.size()) {}

  int64_t of(const RunContext& run) const {
    int64_t count = 1;
    for (const int64_t size : sizes) {
      const int64_t factors[] = {count, run.size(size)};
      count = checked_product(factors, 2);
    }
    if (count > max) throw PlanError("a step was given more rows than it was planned for");
    return count;
  }
};

class BinaryStep : public Step {
 public:
  BinaryStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels), op_(arguments.size()), repeat_(arguments.size()), count_(arguments) {
    if (op_ >= static_cast<int64_t>(Binary::Count) || repeat_ > 2) arguments.fail("has an unknown operation");
    a_ = arguments.place<float>(repeat_ == 2 ? 1 : count_.max);
    b_ = arguments.place<float>(repeat_ == 1 ? 1 : count_.max);
    y_ = arguments.place<float>(count_.max);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, count_.of(run), kUnit);
    const auto repeat = static_cast<Repeat>(repeat_);
    kernels_->binary(static_cast<Binary>(op_), repeat, repeat == Repeat::Left ? a_ : a_ + begin,
                     repeat == Repeat::Right ? b_ : b_ + begin, y_ + begin, end - begin);
  }

 private:
  const Kernels* kernels_;
  int64_t op_, repeat_;
  Count count_;
  float *a_, *b_, *y_;
};

/** y, contiguous, from operands with strides. */
class BroadcastStep : public Step {
 public:
  BroadcastStep(Arguments& arguments, CompileContext& context) : kernels_(context.kernels), op_(arguments.size()) {
    if (op_ >= static_cast<int64_t>(Binary::Count)) arguments.fail("has an unknown operation");
    auto sizes = arguments.list();
    auto a = arguments.list(), b = arguments.list();
    if (sizes.empty() || a.size() != sizes.size() || b.size() != sizes.size()) arguments.fail("has uneven lists");
    a_ = arguments.place<float>(extent(sizes, a, 0, arguments));
    b_ = arguments.place<float>(extent(sizes, b, 0, arguments));
    y_ = arguments.place<float>(product(sizes));
    length_ = sizes.back(), a_step_ = a.back(), b_step_ = b.back();
    sizes.pop_back(), a.pop_back(), b.pop_back();
    rows_ = product(sizes);
    sizes_ = sizes, strides_[0] = a, strides_[1] = b;
  }

  void run(int, const RunContext& run) override {
    if (length_ == 0) return;
    for_each_row(sizes_, strides_, share(run, rows_), [&](int64_t row, const int64_t* at) {
      const float *a = a_ + at[0], *b = b_ + at[1];
      float* y = y_ + row * length_;
      const auto op = static_cast<Binary>(op_);
      if (a_step_ == 1 && b_step_ == 1) return kernels_->binary(op, Repeat::None, a, b, y, length_);
      if (a_step_ == 1 && b_step_ == 0) return kernels_->binary(op, Repeat::Right, a, b, y, length_);
      if (a_step_ == 0 && b_step_ == 1) return kernels_->binary(op, Repeat::Left, a, b, y, length_);
      for (int64_t i = 0; i < length_; i++) kernels_->binary(op, Repeat::None, a + i * a_step_, b + i * b_step_, y + i, 1);
    });
  }

 private:
  const Kernels* kernels_;
  int64_t op_, length_, a_step_, b_step_, rows_;
  std::vector<int64_t> sizes_, strides_[2];
  float *a_, *b_, *y_;
};

class UnaryStep : public Step {
 public:
  UnaryStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels),
        op_(arguments.size()),
        count_(arguments),
        alpha_(arguments.number()),
        beta_(arguments.number()) {
    if (op_ >= static_cast<int64_t>(Unary::Count)) arguments.fail("has an unknown operation");
    x_ = arguments.place<float>(count_.max);
    y_ = arguments.place<float>(count_.max);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, count_.of(run), kUnit);
    kernels_->unary(static_cast<Unary>(op_), x_ + begin, y_ + begin, end - begin, alpha_, beta_);
  }

 private:
  const Kernels* kernels_;
  int64_t op_;
  Count count_;
  float alpha_, beta_;
  float *x_, *y_;
};

/** Between bounds that are values; one that is left out bounds nothing. */
class ClipStep : public Step {
 public:
  ClipStep(Arguments& arguments, CompileContext& context) : kernels_(context.kernels), count_(arguments) {
    x_ = arguments.place<float>(count_.max);
    low_ = arguments.optional<float>(1);
    high_ = arguments.optional<float>(1);
    y_ = arguments.place<float>(count_.max);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, count_.of(run), kUnit);
    const float infinity = __builtin_inff();
    kernels_->clip(x_ + begin, y_ + begin, end - begin, low_ ? *low_ : -infinity, high_ ? *high_ : infinity);
  }

 private:
  const Kernels* kernels_;
  Count count_;
  float *x_, *low_, *high_, *y_;
};

/** y, contiguous, of one byte per element, from operands with strides. */
template <class T>
class CompareStep : public Step {
 public:
  CompareStep(Arguments& arguments, CompileContext&) : op_(static_cast<Comparison>(arguments.size())) {
    if (op_ >= Comparison::Count) arguments.fail("has an unknown operation");
    sizes_ = arguments.list(), strides_[0] = arguments.list(), strides_[1] = arguments.list();
    if (strides_[0].size() != sizes_.size() || strides_[1].size() != sizes_.size()) arguments.fail("has uneven lists");
    a_ = arguments.place<T>(extent(sizes_, strides_[0], 0, arguments));
    b_ = arguments.place<T>(extent(sizes_, strides_[1], 0, arguments));
    y_ = arguments.place<uint8_t>(product(sizes_));
  }

  void run(int, const RunContext& run) override {
    for_each_row(sizes_, strides_, share(run, product(sizes_), kUnit),
                 [&](int64_t i, const int64_t* at) { y_[i] = holds(a_[at[0]], b_[at[1]]); });
  }

 private:
  bool holds(T a, T b) const {
    switch (op_) {
      case Comparison::Equal: return a == b;
      case Comparison::Greater: return a > b;
      case Comparison::GreaterOrEqual: return a >= b;
      case Comparison::Less: return a < b;
      case Comparison::LessOrEqual: return a <= b;
      case Comparison::And: return a != 0 && b != 0;
      case Comparison::Or: return a != 0 || b != 0;
      default: return (a != 0) != (b != 0);
    }
  }

  Comparison op_;
  std::vector<int64_t> sizes_, strides_[2];
  T *a_, *b_;
  uint8_t* y_;
};

/** a where the condition holds, else b; y is contiguous, the operands have strides. */
template <class T>
class WhereStep : public Step {
 public:
  WhereStep(Arguments& arguments, CompileContext&) : sizes_(arguments.list()) {
    for (auto& strides : strides_) {
      strides = arguments.list();
      if (strides.size() != sizes_.size()) arguments.fail("has uneven lists");
    }
    condition_ = arguments.place<uint8_t>(extent(sizes_, strides_[0], 0, arguments));
    a_ = arguments.place<T>(extent(sizes_, strides_[1], 0, arguments));
    b_ = arguments.place<T>(extent(sizes_, strides_[2], 0, arguments));
    y_ = arguments.place<T>(product(sizes_));
  }

  void run(int, const RunContext& run) override {
    for_each_row(sizes_, strides_, share(run, product(sizes_), kUnit),
                 [&](int64_t i, const int64_t* at) { y_[i] = condition_[at[0]] ? a_[at[1]] : b_[at[2]]; });
  }

 private:
  std::vector<int64_t> sizes_, strides_[3];
  uint8_t* condition_;
  T *a_, *b_, *y_;
};

}  // namespace

StepMakers elementwise_steps() {
  return {
      {"binary", make_step<BinaryStep>},
      {"broadcast", make_step<BroadcastStep>},
      {"unary", make_step<UnaryStep>},
      {"clip", make_step<ClipStep>},
      {"compare:float32", make_step<CompareStep<float>>},
      {"compare:float64", make_step<CompareStep<double>>},
      {"compare:int8", make_step<CompareStep<int8_t>>},
      {"compare:uint8", make_step<CompareStep<uint8_t>>},
      {"compare:int16", make_step<CompareStep<int16_t>>},
      {"compare:uint16", make_step<CompareStep<uint16_t>>},
      {"compare:int32", make_step<CompareStep<int32_t>>},
      {"compare:uint32", make_step<CompareStep<uint32_t>>},
      {"compare:int64", make_step<CompareStep<int64_t>>},
      {"compare:uint64", make_step<CompareStep<uint64_t>>},
      {"where1", make_step<WhereStep<uint8_t>>},
      {"where2", make_step<WhereStep<uint16_t>>},
      {"where4", make_step<WhereStep<uint32_t>>},
      {"where8", make_step<WhereStep<uint64_t>>},
  };
}

}  // namespace frostbit
