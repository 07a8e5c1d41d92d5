// Along one axis of [outer, size, inner]: the place of the extreme, the k largest, sums so far. And triangles of matrices.
#include <algorithm>
#include <numeric>

#include "steps.h"

namespace frostbit {
namespace {

struct Around {
  int64_t outer, size, inner;

  explicit Around(Arguments& arguments) : outer(arguments.size()), size(arguments.size()), inner(arguments.size()) {}

  int64_t lines() const { return outer * inner; }
  /** Where a line's first element lies among lines of `length` elements. */
  int64_t start(int64_t line, int64_t length) const { return line / inner * length * inner + line % inner; }
};

template <class T>
class ArgExtremeStep : public Step {
 public:
  ArgExtremeStep(Arguments& arguments, CompileContext&)
      : around_(arguments), is_smallest_(arguments.integer() != 0), takes_last_(arguments.integer() != 0) {
    if (around_.size == 0 && around_.lines() > 0) arguments.fail("looks along an empty axis");
    x_ = arguments.place<T>(around_.outer, around_.size, around_.inner);
    y_ = arguments.place<int64_t>(around_.outer, around_.inner);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, around_.lines());
    for (int64_t line = begin; line < end; line++) {
      const T* x = x_ + around_.start(line, around_.size);
      int64_t best = 0;
      for (int64_t k = 1; k < around_.size; k++)
        if (is_better(x[k * around_.inner], x[best * around_.inner])) best = k;
      y_[line] = best;
    }
  }

 private:
  bool is_better(T a, T b) const { return (is_smallest_ ? a < b : a > b) || (takes_last_ && a == b); }

  Around around_;
  bool is_smallest_, takes_last_;
  T* x_;
  int64_t* y_;
};

/** Values and their indices, sorted; ties go to the lower index, what is no number comes last. */
template <class T>
class TopKStep : public Step {
 public:
  TopKStep(Arguments& arguments, CompileContext& context)
      : around_(arguments), k_(arguments.size()), is_largest_(arguments.integer() != 0) {
    if (k_ > around_.size) arguments.fail("wants more elements than there are");
    x_ = arguments.place<T>(around_.outer, around_.size, around_.inner);
    if (around_.lines() > 0) context.want_scratch(around_.size * sizeof(int64_t));
    values_ = arguments.optional<T>(around_.outer, k_, around_.inner);
    indices_ = arguments.optional<int64_t>(around_.outer, k_, around_.inner);
  }

  void run(int, const RunContext& run) override {
    if (k_ == 0) return;
    const auto [begin, end] = share(run, around_.lines());
    int64_t* order = reinterpret_cast<int64_t*>(run.scratch);
    for (int64_t line = begin; line < end; line++) {
      const T* x = x_ + around_.start(line, around_.size);
      std::iota(order, order + around_.size, int64_t{0});
      std::partial_sort(order, order + k_, order + around_.size, [&](int64_t a, int64_t b) { return precedes(x, a, b); });
      const int64_t to = around_.start(line, k_);
      for (int64_t j = 0; j < k_; j++) {
        if (values_) values_[to + j * around_.inner] = x[order[j] * around_.inner];
        if (indices_) indices_[to + j * around_.inner] = order[j];
      }
    }
  }

 private:
  bool precedes(const T* x, int64_t a, int64_t b) const {
    const T p = x[a * around_.inner], q = x[b * around_.inner];
    if (p != p || q != q) return p != p && q != q ? a < b : q != q;
    return p == q ? a < b : is_largest_ ? p > q : p < q;
  }

  Around around_;
  int64_t k_;
  bool is_largest_;
  T *x_, *values_;
  int64_t* indices_;
};

template <class T, class Total>
class CumulativeSumStep : public Step {
 public:
  CumulativeSumStep(Arguments& arguments, CompileContext&)
      : around_(arguments), is_exclusive_(arguments.integer() != 0), is_reverse_(arguments.integer() != 0) {
    x_ = arguments.place<T>(around_.outer, around_.size, around_.inner);
    y_ = arguments.place<T>(around_.outer, around_.size, around_.inner);
  }

  void run(int, const RunContext& run) override {
    if (around_.size == 0) return;
    const auto [begin, end] = share(run, around_.lines());
    for (int64_t line = begin; line < end; line++) {
      const int64_t first = around_.start(line, around_.size);
      Total total = 0;
      for (int64_t i = 0; i < around_.size; i++) {
        const int64_t at = first + (is_reverse_ ? around_.size - 1 - i : i) * around_.inner;
        const Total next = total + x_[at];
        y_[at] = static_cast<T>(is_exclusive_ ? total : next);
        total = next;
      }
    }
  }

 private:
  Around around_;
  bool is_exclusive_, is_reverse_;
  T *x_, *y_;
};

/** The elements at or above the k-th diagonal of each matrix, or at or below it; the others are zero. */
template <class T>
class TriangleStep : public Step {
 public:
  TriangleStep(Arguments& arguments, CompileContext&)
      : matrices_(arguments.size()),
        rows_(arguments.size()),
        columns_(arguments.size()),
        diagonal_(arguments.integer()),
        is_upper_(arguments.integer() != 0) {
    x_ = arguments.place<T>(matrices_, rows_, columns_);
    y_ = arguments.place<T>(matrices_, rows_, columns_);
  }

  void run(int, const RunContext& run) override {
    if (columns_ == 0) return;
    const auto [begin, end] = share(run, matrices_ * rows_);
    for (int64_t row = begin; row < end; row++)
      for (int64_t column = 0; column < columns_; column++) {
        const int64_t distance = column - row % rows_;
        const bool is_kept = is_upper_ ? distance >= diagonal_ : distance <= diagonal_;
        y_[row * columns_ + column] = is_kept ? x_[row * columns_ + column] : T(0);
      }
  }

 private:
  int64_t matrices_, rows_, columns_, diagonal_;
  bool is_upper_;
  T *x_, *y_;
};

}  // namespace

StepMakers ordering_steps() {
  return {
      {"argExtreme:float32", make_step<ArgExtremeStep<float>>},
      {"argExtreme:int32", make_step<ArgExtremeStep<int32_t>>},
      {"argExtreme:int64", make_step<ArgExtremeStep<int64_t>>},
      {"topK:float32", make_step<TopKStep<float>>},
      {"topK:int32", make_step<TopKStep<int32_t>>},
      {"topK:int64", make_step<TopKStep<int64_t>>},
      {"cumulativeSum:float32", make_step<CumulativeSumStep<float, double>>},
      {"cumulativeSum:int32", make_step<CumulativeSumStep<int32_t, int64_t>>},
      {"cumulativeSum:int64", make_step<CumulativeSumStep<int64_t, int64_t>>},
      {"triangle1", make_step<TriangleStep<uint8_t>>},
      {"triangle2", make_step<TriangleStep<uint16_t>>},
      {"triangle4", make_step<TriangleStep<uint32_t>>},
      {"triangle8", make_step<TriangleStep<uint64_t>>},
  };
}

}  // namespace frostbit
