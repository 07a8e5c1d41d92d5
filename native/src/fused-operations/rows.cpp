// Of rows as a whole: sums and extremes along them and down their columns, softmax, and a number for each row.
#include <cmath>

#include "../fused-operation.h"

namespace frostbit {
namespace {

double start(Reduction op) { return op == Reduction::Max ? -INFINITY : op == Reduction::Min ? INFINITY : 0; }

double ended(Reduction op, double total, int64_t count) {
  if (op == Reduction::Mean) return total / static_cast<double>(count);
  return op == Reduction::L2 ? std::sqrt(total) : total;
}

Reduction reduction(Arguments& arguments) {
  const auto op = static_cast<Reduction>(arguments.size());
  if (op >= Reduction::Count || !is_vectorized(op)) arguments.fail("has an unknown operation");
  return op;
}

/** One number of each row. */
class ReduceRowOperation : public FusedOperation {
 public:
  ReduceRowOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels->rows),
        width_(context.width),
        op_(reduction(arguments)),
        x_(arguments.elementwise<float>(context.count)),
        y_(arguments.elementwise<float>(context.count / context.width)) {}

  void run(const Chunk& chunk) override {
    const float* x = chunk.at(x_);
    float* y = chunk.rows_at(y_, width_);
    for (int64_t i = 0; i < chunk.count; i += width_)
      *y++ = static_cast<float>(ended(op_, kernels_->reduce_row(op_, x + i, width_, start(op_)), width_));
  }

 private:
  const RowKernels* kernels_;
  int64_t width_;
  Reduction op_;
  Elementwise<float> x_, y_;
};

/** One operand is a number that all elements of a row meet. */
class BinaryColumnOperation : public FusedOperation {
 public:
  BinaryColumnOperation(Arguments& arguments, const FusedContext& context) : kernels_(context.kernels), width_(context.width) {
    const int64_t op = arguments.size(), repeat = arguments.size();
    if (op >= static_cast<int64_t>(Binary::Count) || repeat < 1 || repeat > 2) arguments.fail("has an unknown operation");
    op_ = static_cast<Binary>(op), is_right_ = repeat == 1;
    x_ = arguments.elementwise<float>(context.count);
    column_ = arguments.elementwise<float>(context.count / width_);
    y_ = arguments.elementwise<float>(context.count);
  }

  void run(const Chunk& chunk) override {
    const float *x = chunk.at(x_), *each = chunk.rows_at(column_, width_);
    float* y = chunk.at(y_);
    for (int64_t i = 0; i < chunk.count; i += width_, each++)
      kernels_->binary(op_, is_right_ ? Repeat::Right : Repeat::Left, is_right_ ? x + i : each, is_right_ ? each : x + i, y + i,
                       width_);
  }

 private:
  const Kernels* kernels_;
  int64_t width_;
  Binary op_;
  bool is_right_;
  Elementwise<float> x_, column_, y_;
};

class SoftmaxRowOperation : public FusedOperation {
 public:
  SoftmaxRowOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels->rows),
        width_(context.width),
        is_log_(arguments.integer() != 0),
        x_(arguments.elementwise<float>(context.count)),
        y_(arguments.elementwise<float>(context.count)) {}

  void run(const Chunk& chunk) override {
    const float* x = chunk.at(x_);
    float* y = chunk.at(y_);
    for (int64_t i = 0; i < chunk.count; i += width_) kernels_->softmax(x + i, y + i, width_, is_log_);
  }

 private:
  const RowKernels* kernels_;
  int64_t width_;
  bool is_log_;
  Elementwise<float> x_, y_;
};

/** y[j] = Σ x[i][j], or its mean: in float32 over some rows, then in double. */
class SumColumnsOperation : public FusedOperation {
 public:
  SumColumnsOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        width_(context.width),
        divisor_(arguments.integer() != 0 ? static_cast<double>(context.count / context.width) : 1),
        x_(arguments.elementwise<float>(context.count)),
        y_(arguments.place<float>(width_)),
        sums_(context.threads, 1, width_),
        totals_(context.threads, 1, width_),
        seen_(context.threads, 1, 1) {}

  void prepare(const RunContext& run) override {
    *seen_.row(run.thread, 0) = 0;
    for (int64_t j = 0; j < width_; j++) sums_.row(run.thread, 0)[j] = 0;
    for (int64_t j = 0; j < width_; j++) totals_.row(run.thread, 0)[j] = 0;
  }

  void run(const Chunk& chunk) override {
    kernels_->sum_columns(chunk.at(x_), chunk.count, width_, sums_.row(chunk.thread, 0));
    account(chunk);
  }

  bool describe(LoopMaker& loop) override {
    loop.add_to(loop.column_sums(sums_.row_of_thread(0)), loop.read(x_));
    return true;
  }

  void account(const Chunk& chunk) override {
    int64_t& seen = *seen_.row(chunk.thread, 0);
    seen += chunk.count / width_;
    if (seen < kMaxTerms) return;
    flush(chunk.thread);
    seen = 0;
  }

  void complete(const RunContext& run) override { flush(run.thread); }
  bool has_epilogue() const override { return true; }

  void epilogue(const RunContext& run) override {
    for (int64_t j = 0; j < width_; j++) {
      double total = 0;
      for (int thread = 0; thread < run.threads; thread++) total += totals_.row(thread, 0)[j];
      y_[j] = static_cast<float>(total / divisor_);
    }
  }

 private:
  /** What a float32 adds up before it is added to a double. */
  static constexpr int64_t kMaxTerms = 64;

  void flush(int thread) {
    float* sums = sums_.row(thread, 0);
    double* totals = totals_.row(thread, 0);
    for (int64_t j = 0; j < width_; j++) {
      totals[j] += sums[j];
      sums[j] = 0;
    }
  }

  const Kernels* kernels_;
  int64_t width_;
  double divisor_;
  Elementwise<float> x_;
  float* y_;
  ThreadRows<float> sums_;
  ThreadRows<double> totals_;
  ThreadRows<int64_t> seen_;
};

}  // namespace

FusedOperationMakers row_operations() {
  return {
      {"reduceRow", make_operation<ReduceRowOperation>},
      {"binaryColumn", make_operation<BinaryColumnOperation>},
      {"softmaxRow", make_operation<SoftmaxRowOperation>},
      {"sumColumns", make_operation<SumColumnsOperation>},
  };
}

}  // namespace frostbit
