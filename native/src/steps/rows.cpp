// Normalization of rows by their own statistics, and interpolation along an axis.
#include "steps.h"

namespace frostbit {
namespace {

/**
 * Rows of `length` elements. Scale and bias hold `period` elements, repeated along each row; where that is 1 and there are
 * `groups` > 1, row i takes the (i modulo groups)-th.
 */
class NormalizeRowsStep : public Step {
 public:
  NormalizeRowsStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels->rows),
        rows_(arguments.size()),
        length_(arguments.size()),
        scales_(arguments),
        biases_(arguments),
        epsilon_(arguments.precise()) {
    x_ = arguments.place<float>(rows_, length_);
    scale_ = arguments.place<float>(scales_.period, scales_.groups);
    bias_ = arguments.optional<float>(biases_.period, biases_.groups);
    y_ = arguments.optional<float>(rows_, length_);
    mean_ = arguments.optional<float>(rows_);
    inverse_ = arguments.optional<float>(rows_);
    if (rows_ > 0 && !is_whole()) context.want_scratch(2 * length_ * sizeof(float));
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, rows_);
    float* scratch = reinterpret_cast<float*>(run.scratch);
    for (int64_t row = begin; row < end; row++) {
      const float* x = x_ + row * length_;
      float mean, inverse;
      kernels_->standardize(x, length_, epsilon_, &mean, &inverse);
      if (mean_) mean_[row] = mean;
      if (inverse_) inverse_[row] = inverse;
      if (!y_) continue;
      const float* scale = repeated(scales_, scale_, row, scratch);
      const float* bias = bias_ ? repeated(biases_, bias_, row, scratch + length_) : nullptr;
      kernels_->scale_row(x, mean, inverse, scale, bias, y_ + row * length_, length_);
    }
  }

 private:
  struct Parameter {
    int64_t period, groups;

    explicit Parameter(Arguments& arguments) : period(arguments.size()), groups(arguments.size()) {
      if (period < 1 || groups < 1) arguments.fail("has an empty parameter");
    }
  };

  bool is_whole() const { return scales_.period == length_ && (!bias_ || biases_.period == length_); }

  /** The parameter as long as a row. */
  const float* repeated(const Parameter& parameter, const float* data, int64_t row, float* scratch) const {
    data += row % parameter.groups * parameter.period;
    if (parameter.period == length_) return data;
    for (int64_t i = 0; i < length_; i++) scratch[i] = data[i % parameter.period];
    return scratch;
  }

  const RowKernels* kernels_;
  int64_t rows_, length_;
  Parameter scales_, biases_;
  double epsilon_;
  float *x_, *scale_, *bias_, *y_, *mean_, *inverse_;
};

/** y[o, k, i] = Σ of two elements of x[o, …, i] with weights; `value` where the first index is −1. */
class InterpolateStep : public Step {
 public:
  InterpolateStep(Arguments& arguments, CompileContext&)
      : outer_(arguments.size()), from_(arguments.size()), to_(arguments.size()), inner_(arguments.size()),
        value_(arguments.number()) {
    x_ = arguments.place<float>(outer_, from_, inner_);
    indices_ = arguments.place<int64_t>(int64_t{2}, to_);
    weights_ = arguments.place<float>(int64_t{2}, to_);
    y_ = arguments.place<float>(outer_, to_, inner_);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, outer_ * to_);
    for (int64_t row = begin; row < end; row++) {
      const int64_t k = row % to_;
      float* y = y_ + row * inner_;
      if (indices_[2 * k] == -1) {
        for (int64_t i = 0; i < inner_; i++) y[i] = value_;
        continue;
      }
      const float* x = x_ + row / to_ * from_ * inner_;
      const float* a = x + checked_row(indices_[2 * k], from_) * inner_;
      const float* b = x + checked_row(indices_[2 * k + 1], from_) * inner_;
      const float p = weights_[2 * k], q = weights_[2 * k + 1];
      for (int64_t i = 0; i < inner_; i++) y[i] = q == 0 ? p * a[i] : p * a[i] + q * b[i];
    }
  }

 private:
  int64_t outer_, from_, to_, inner_;
  float value_;
  float *x_, *weights_, *y_;
  int64_t* indices_;
};

}  // namespace

StepMakers row_steps() {
  return {
      {"normalizeRows", make_step<NormalizeRowsStep>},
      {"interpolate", make_step<InterpolateStep>},
  };
}

}  // namespace frostbit
