// Normalization of rows by their own statistics, and interpolation along an axis.
#include <algorithm>

#include "steps.h"

namespace frostbit {
namespace {

/** Rows of `length` elements, each of them less its mean where they are centred, over their deviation. */
class NormalizeRowsStep : public Step {
 public:
  NormalizeRowsStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels->rows),
        rows_(arguments.size()),
        length_(arguments.size()),
        is_centred_(arguments.integer() != 0),
        scales_(arguments),
        biases_(arguments),
        epsilon_(arguments.precise()) {
    if (length_ == 0 && rows_ > 0) arguments.fail("normalizes rows of nothing");
    x_ = arguments.place<float>(rows_, length_);
    scale_ = arguments.place<float>(scales_.period, scales_.groups);
    bias_ = arguments.optional<float>(biases_.period, biases_.groups);
    y_ = arguments.optional<float>(rows_, length_);
    mean_ = arguments.optional<float>(rows_);
    inverse_ = arguments.optional<float>(rows_);
    if (rows_ > 0 && (!is_whole(scales_) || !is_whole(biases_))) context.want_scratch(2 * length_ * sizeof(float));
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, rows_);
    float* scratch = reinterpret_cast<float*>(run.scratch);
    for (int64_t row = begin; row < end; row++) {
      const float* x = x_ + row * length_;
      float mean, inverse;
      kernels_->standardize(x, length_, is_centred_, epsilon_, &mean, &inverse);
      if (mean_) mean_[row] = mean;
      if (inverse_) inverse_[row] = inverse;
      if (!y_) continue;
      const float* scale = repeated(scales_, scale_, row, scratch);
      const float* bias = bias_ ? repeated(biases_, bias_, row, scratch + length_) : nullptr;
      kernels_->scale_row(x, mean, inverse, scale, bias, y_ + row * length_, length_);
    }
  }

 private:
  /** `period` elements for a row, each `repeat` times, over and over; row i takes the (i modulo groups)-th of them. */
  struct Parameter {
    int64_t period, repeat, groups;

    explicit Parameter(Arguments& arguments) : period(arguments.size()), repeat(arguments.size()), groups(arguments.size()) {
      if (period < 1 || repeat < 1 || groups < 1) arguments.fail("has an empty parameter");
    }
  };

  bool is_whole(const Parameter& parameter) const { return parameter.period == length_ && parameter.repeat == 1; }

  /** The parameter as long as a row. */
  const float* repeated(const Parameter& parameter, const float* data, int64_t row, float* scratch) const {
    data += row % parameter.groups * parameter.period;
    if (is_whole(parameter)) return data;
    for (int64_t i = 0; i < length_;)
      for (int64_t j = 0; j < parameter.period && i < length_; j++)
        for (int64_t k = 0; k < parameter.repeat && i < length_; k++) scratch[i++] = data[j];
    return scratch;
  }

  const RowKernels* kernels_;
  int64_t rows_, length_;
  bool is_centred_;
  Parameter scales_, biases_;
  double epsilon_;
  float *x_, *scale_, *bias_, *y_, *mean_, *inverse_;
};

/** y[o, k, i] = Σ of `taps` elements of x[o, …, i] with weights; `value` where the first index is −1. */
class InterpolateStep : public Step {
 public:
  InterpolateStep(Arguments& arguments, CompileContext&)
      : outer_(arguments.size()),
        from_(arguments.size()),
        to_(arguments.size()),
        inner_(arguments.size()),
        taps_(arguments.size()),
        value_(arguments.number()) {
    x_ = arguments.place<float>(outer_, from_, inner_);
    indices_ = arguments.place<int64_t>(taps_, to_);
    weights_ = arguments.place<float>(taps_, to_);
    y_ = arguments.place<float>(outer_, to_, inner_);
  }

  void run(int, const RunContext& run) override {
    if (inner_ == 0) return;
    const auto [begin, end] = share(run, outer_ * to_);
    for (int64_t row = begin; row < end; row++) {
      const int64_t k = row % to_;
      float* y = y_ + row * inner_;
      const bool is_outside = taps_ > 0 && indices_[taps_ * k] == -1;
      std::fill(y, y + inner_, is_outside ? value_ : 0.0f);
      for (int64_t tap = taps_ * k; tap < taps_ * (k + 1) && !is_outside; tap++) {
        const float weight = weights_[tap];
        if (weight == 0) continue;
        const float* x = x_ + (row / to_ * from_ + checked_row(indices_[tap], from_)) * inner_;
        for (int64_t i = 0; i < inner_; i++) y[i] += weight * x[i];
      }
    }
  }

 private:
  int64_t outer_, from_, to_, inner_, taps_;
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
