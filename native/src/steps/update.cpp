// Optimizer steps, in place where the plan gives the same place for the old and the new value.
#include <cmath>
#include <cstring>

#include "steps.h"

namespace frostbit {
namespace {

/** [outer, size, inner] around the rows' axis; without rows one row holds everything. */
struct Changed {
  int64_t outer, size, inner, count, max;

  explicit Changed(Arguments& arguments)
      : outer(arguments.size()),
        size(arguments.size()),
        inner(arguments.size()),
        count(arguments.integer()),
        max(arguments.size()) {}

  int64_t elements() const { return product({outer, size, inner}); }

  /** Without rows the gradient is whole. */
  void check(const int64_t* rows, const Arguments& arguments) const {
    if (!rows && max < size) arguments.fail("has no rows");
  }

  /** `visit(at, gradientAt, length, row)` for this thread's part of what changes. */
  template <class Visit>
  void each(const RunContext& run, const int64_t* rows, Visit visit) const {
    if (!rows) {
      const auto [begin, end] = share(run, elements(), 16);
      visit(begin, begin, end - begin, 0);
      return;
    }
    const int64_t given = run.size(count);
    if (given > max) throw PlanError("more rows than there are");
    const auto [begin, end] = share(run, given);
    for (int64_t r = begin; r < end; r++) {
      const int64_t row = checked_row(rows[r], size);
      for (int64_t o = 0; o < outer; o++) visit((o * size + row) * inner, (o * given + r) * inner, inner, row);
    }
  }
};

void copy_part(const RunContext& run, const float* from, float* to, int64_t count) {
  if (from == to) return;
  const auto [begin, end] = share(run, count, 16);
  std::memmove(to + begin, from + begin, (end - begin) * sizeof(float));
}

class SgdStep : public Step {
 public:
  SgdStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels), changed_(arguments), momentum_(arguments.number()), decay_(arguments.number()) {
    const int64_t all = changed_.elements();
    w_ = arguments.place<float>(all);
    g_ = arguments.place<float>(changed_.outer, changed_.max, changed_.inner);
    velocity_ = arguments.place<float>(all);
    rate_ = arguments.place<float>(1);
    rows_ = arguments.optional<int64_t>(changed_.max);
    new_w_ = arguments.place<float>(all);
    new_velocity_ = arguments.place<float>(all);
    changed_.check(rows_, arguments);
  }

  int phases() const override { return 2; }

  void run(int phase, const RunContext& run) override {
    if (phase == 0) {
      copy_part(run, w_, new_w_, changed_.elements());
      copy_part(run, velocity_, new_velocity_, changed_.elements());
      return;
    }
    changed_.each(run, rows_, [&](int64_t at, int64_t from, int64_t length, int64_t) {
      kernels_->sgd(new_w_ + at, g_ + from, new_velocity_ + at, new_w_ + at, new_velocity_ + at, length, *rate_, momentum_,
                    decay_);
    });
  }

 private:
  const Kernels* kernels_;
  Changed changed_;
  float momentum_, decay_;
  float *w_, *g_, *velocity_, *rate_, *new_w_, *new_velocity_;
  int64_t* rows_;
};

class AdamStep : public Step {
 public:
  AdamStep(Arguments& arguments, CompileContext& context) : kernels_(context.kernels), changed_(arguments) {
    steps_ = arguments.size();
    beta1_ = arguments.precise();
    beta2_ = arguments.precise();
    epsilon_ = arguments.number();
    decay_ = arguments.number();
    decoupled_ = arguments.precise();
    const int64_t all = changed_.elements();
    old_[0] = arguments.place<float>(all);
    g_ = arguments.place<float>(changed_.outer, changed_.max, changed_.inner);
    old_[1] = arguments.place<float>(all);
    old_[2] = arguments.place<float>(all);
    step_ = arguments.place<float>(steps_);
    rate_ = arguments.place<float>(1);
    rows_ = arguments.optional<int64_t>(changed_.max);
    for (float*& next : new_) next = arguments.place<float>(all);
    new_step_ = arguments.place<float>(steps_);
    changed_.check(rows_, arguments);
    if (steps_ < (rows_ ? changed_.size : 1)) arguments.fail("counts too few steps");
  }

  int phases() const override { return 3; }

  void run(int phase, const RunContext& run) override {
    if (phase == 0) {
      for (int i = 0; i < 3; i++) copy_part(run, old_[i], new_[i], changed_.elements());
      copy_part(run, step_, new_step_, steps_);
    } else if (phase == 1) {
      changed_.each(run, rows_, [&](int64_t at, int64_t from, int64_t length, int64_t row) {
        kernels_->adam(new_[0] + at, g_ + from, new_[1] + at, new_[2] + at, new_[0] + at, new_[1] + at, new_[2] + at, length,
                       settings(new_step_[row] + 1));
      });
    } else if (run.thread == 0) {
      const int64_t count = rows_ ? run.size(changed_.count) : steps_;
      for (int64_t i = 0; i < count; i++) new_step_[rows_ ? checked_row(rows_[i], changed_.size) : i] += 1;
    }
  }

 private:
  Kernels::Adam settings(double step) const {
    return {static_cast<float>(*rate_ / (1 - std::pow(beta1_, step))),
            static_cast<float>(std::sqrt(1 - std::pow(beta2_, step))),
            static_cast<float>(beta1_),
            static_cast<float>(1 - beta1_),
            static_cast<float>(beta2_),
            static_cast<float>(1 - beta2_),
            epsilon_,
            decay_,
            static_cast<float>(1 - *rate_ * decoupled_)};
  }

  const Kernels* kernels_;
  Changed changed_;
  int64_t steps_;
  double beta1_, beta2_, decoupled_;
  float epsilon_, decay_;
  /** w, m, v */
  float* old_[3];
  float* new_[3];
  float *g_, *step_, *rate_, *new_step_;
  int64_t* rows_;
};

}  // namespace

StepMakers update_steps() { return {{"sgd", make_step<SgdStep>}, {"adam", make_step<AdamStep>}}; }

}  // namespace frostbit
