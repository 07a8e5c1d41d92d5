// Element by element: contiguous operands through the kernels, broadcast ones row by row.
#include "steps.h"

namespace frostbit {
namespace {

/** Enough elements for a vector, so that threads split at whole ones. */
constexpr int64_t kUnit = 16;

/** Sizes, of which some may be known only at the run; their product is at most `most`. */
struct Count {
  std::vector<int64_t> sizes;
  int64_t most;

  explicit Count(Arguments& arguments) : sizes(arguments.list()), most(arguments.size()) {}

  int64_t of(const RunContext& run) const {
    int64_t count = 1;
    for (const int64_t size : sizes) count *= run.size(size);
    if (count > most) throw PlanError("a step was given more rows than it was planned for");
    return count;
  }
};

class BinaryStep : public Step {
 public:
  BinaryStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels),
        op_(arguments.size()),
        repeat_(arguments.size()),
        count_(arguments) {
    if (op_ >= static_cast<int64_t>(Binary::Count) || repeat_ > 2) arguments.fail("has an unknown operation");
    a_ = arguments.place<float>(repeat_ == 2 ? 1 : count_.most);
    b_ = arguments.place<float>(repeat_ == 1 ? 1 : count_.most);
    y_ = arguments.place<float>(count_.most);
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
      for (int64_t i = 0; i < length_; i++)
        kernels_->binary(op, Repeat::None, a + i * a_step_, b + i * b_step_, y + i, 1);
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
    x_ = arguments.place<float>(count_.most);
    y_ = arguments.place<float>(count_.most);
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
    x_ = arguments.place<float>(count_.most);
    low_ = arguments.optional<float>(1);
    high_ = arguments.optional<float>(1);
    y_ = arguments.place<float>(count_.most);
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

}  // namespace

StepMakers elementwise_steps() {
  return {
      {"binary", make_step<BinaryStep>},
      {"broadcast", make_step<BroadcastStep>},
      {"unary", make_step<UnaryStep>},
      {"clip", make_step<ClipStep>},
  };
}

}  // namespace frostbit
