// Batch normalization over [pixels, channels].
#include <algorithm>
#include <cmath>

#include "steps.h"

namespace frostbit {
namespace {

/**
 * Few channels are repeated until a row of the loops fills some vectors; sums are kept in float32 over a block that stays in
 * the cache and then added up in double.
 */
struct Columns {
  int64_t pixels, channels, repeats, width, block;

  Columns(int64_t given_pixels, int64_t given_channels)
      : pixels(given_pixels), channels(given_channels) {
    repeats = channels >= 64 || channels == 0 ? 1 : (64 + channels - 1) / channels;
    width = channels * repeats;
    block = width * (width >= kBlock ? 1 : kBlock / (width == 0 ? 1 : width));
  }

  /** This thread's elements. */
  Range elements(const RunContext& run) const {
    const auto [begin, end] = share(run, pixels);
    return {begin * channels, end * channels};
  }

  /** Adds up the repeats. */
  double folded(const float* sums, int64_t channel) const {
    double sum = 0;
    for (int64_t i = channel; i < width; i += channels) sum += sums[i];
    return sum;
  }

  void spread(float* values) const {
    for (int64_t i = channels; i < width; i++) values[i] = values[i - channels];
  }

  static constexpr int64_t kBlock = 8192;
};

Columns columns_of(Arguments& arguments) {
  const int64_t pixels = arguments.size();
  return {pixels, arguments.size()};
}

class Scratch {
 public:
  Scratch(const RunContext& run, int64_t width) : next_(reinterpret_cast<float*>(run.scratch)), width_(width) {}
  float* row() {
    float* row = next_;
    next_ += width_;
    return row;
  }

 private:
  float* next_;
  int64_t width_;
};

void want_rows(CompileContext& context, const Columns& columns, int rows) {
  context.want_scratch(rows * columns.width * sizeof(float));
}

/** y = γ (x − mean) / √(variance + ε) + β with given statistics. */
class NormalizationStep : public Step {
 public:
  NormalizationStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels), columns_(columns_of(arguments)), epsilon_(arguments.precise()) {
    x_ = arguments.place<float>(columns_.pixels, columns_.channels);
    gamma_ = arguments.place<float>(columns_.channels);
    beta_ = arguments.place<float>(columns_.channels);
    mean_ = arguments.place<float>(columns_.channels);
    variance_ = arguments.place<float>(columns_.channels);
    y_ = arguments.place<float>(columns_.pixels, columns_.channels);
    want_rows(context, columns_, 3);
  }

  void run(int, const RunContext& run) override {
    Scratch scratch(run, columns_.width);
    float *a = scratch.row(), *pivot = scratch.row(), *b = scratch.row();
    for (int64_t c = 0; c < columns_.channels; c++) {
      a[c] = static_cast<float>(gamma_[c] / std::sqrt(static_cast<double>(variance_[c]) + epsilon_));
      pivot[c] = mean_[c];
      b[c] = beta_[c];
    }
    for (float* row : {a, pivot, b}) columns_.spread(row);
    const auto [begin, end] = columns_.elements(run);
    kernels_->scale_columns(x_ + begin, a, pivot, b, y_ + begin, end - begin, columns_.width);
  }

 private:
  const Kernels* kernels_;
  Columns columns_;
  double epsilon_;
  float *x_, *gamma_, *beta_, *mean_, *variance_, *y_;
};

/** Statistics by Chan's formula: block by block, then thread by thread. */
class NormalizationTrainingStep : public Step {
 public:
  NormalizationTrainingStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels), columns_(columns_of(arguments)), epsilon_(arguments.precise()) {
    x_ = arguments.place<float>(columns_.pixels, columns_.channels);
    gamma_ = arguments.place<float>(columns_.channels);
    beta_ = arguments.place<float>(columns_.channels);
    y_ = arguments.place<float>(columns_.pixels, columns_.channels);
    mean_ = arguments.place<float>(columns_.channels);
    variance_ = arguments.place<float>(columns_.channels);
    statistics_.resize(context.threads * 2 * columns_.channels);
    counts_.resize(context.threads * 8);
    want_rows(context, columns_, 3);
  }

  int phases() const override { return 2; }

  void run(int phase, const RunContext& run) override { phase == 0 ? gather(run) : apply(run); }

 private:
  void gather(const RunContext& run) {
    const int64_t channels = columns_.channels;
    Scratch scratch(run, columns_.width);
    float *sums = scratch.row(), *pivot = scratch.row();
    double* means = &statistics_[run.thread * 2 * channels];
    double* squares = means + channels;
    for (int64_t c = 0; c < 2 * channels; c++) means[c] = 0;
    double seen = 0;
    const auto [begin, end] = columns_.elements(run);
    for (int64_t at = begin; at < end; at += columns_.block) {
      const int64_t length = std::min(columns_.block, end - at);
      const double count = static_cast<double>(length / channels);
      for (int64_t i = 0; i < columns_.width; i++) sums[i] = 0;
      kernels_->sum_columns(x_ + at, length, columns_.width, sums);
      for (int64_t c = 0; c < channels; c++) pivot[c] = static_cast<float>(columns_.folded(sums, c) / count);
      columns_.spread(pivot);
      combine(means, squares, seen, sums, pivot, x_ + at, length, count);
      seen += count;
    }
    counts_[run.thread * 8] = seen;
  }

  /** Adds a block's statistics: its mean from `sums`, its squares around the mean rounded to float32. */
  void combine(double* means, double* squares, double seen, float* sums, const float* pivot, const float* x,
               int64_t length, double count) {
    const int64_t channels = columns_.channels;
    for (int64_t c = 0; c < channels; c++) {
      const double mean = columns_.folded(sums, c) / count;
      const double difference = mean - means[c];
      const double rounding = mean - pivot[c];
      squares[c] += difference * difference * (seen * count / (seen + count)) - count * rounding * rounding;
      means[c] += difference * (count / (seen + count));
    }
    for (int64_t i = 0; i < columns_.width; i++) sums[i] = 0;
    kernels_->sum_squares(x, pivot, length, columns_.width, sums);
    for (int64_t c = 0; c < channels; c++) squares[c] += columns_.folded(sums, c);
  }

  void apply(const RunContext& run) {
    Scratch scratch(run, columns_.width);
    float *a = scratch.row(), *pivot = scratch.row(), *b = scratch.row();
    for (int64_t c = 0; c < columns_.channels; c++) {
      double mean = 0, squares = 0, seen = 0;
      for (int thread = 0; thread < run.threads; thread++) {
        const double count = counts_[thread * 8];
        if (count == 0) continue;
        const double* other = &statistics_[thread * 2 * columns_.channels];
        const double difference = other[c] - mean;
        squares += other[columns_.channels + c] + difference * difference * (seen * count / (seen + count));
        mean += difference * (count / (seen + count));
        seen += count;
      }
      const double variance = squares / seen;
      a[c] = static_cast<float>(gamma_[c] / std::sqrt(variance + epsilon_));
      pivot[c] = static_cast<float>(mean);
      b[c] = static_cast<float>(beta_[c] - a[c] * (mean - pivot[c]));
      if (run.thread == 0) {
        mean_[c] = static_cast<float>(mean);
        variance_[c] = static_cast<float>(variance);
      }
    }
    for (float* row : {a, pivot, b}) columns_.spread(row);
    const auto [begin, end] = columns_.elements(run);
    kernels_->scale_columns(x_ + begin, a, pivot, b, y_ + begin, end - begin, columns_.width);
  }

  const Kernels* kernels_;
  Columns columns_;
  double epsilon_;
  float *x_, *gamma_, *beta_, *y_, *mean_, *variance_;
  std::vector<double> statistics_, counts_;
};

/** dbeta = Σ dy, dgamma = r Σ dy (x − mean), dx = γ r (dy − dbeta/n − (x − mean) r dgamma/n) */
class NormalizationGradientStep : public Step {
 public:
  NormalizationGradientStep(Arguments& arguments, CompileContext& context)
      : kernels_(context.kernels), columns_(columns_of(arguments)), epsilon_(arguments.precise()) {
    dy_ = arguments.place<float>(columns_.pixels, columns_.channels);
    x_ = arguments.place<float>(columns_.pixels, columns_.channels);
    gamma_ = arguments.place<float>(columns_.channels);
    mean_ = arguments.place<float>(columns_.channels);
    variance_ = arguments.place<float>(columns_.channels);
    dx_ = arguments.optional<float>(columns_.pixels, columns_.channels);
    dgamma_ = arguments.optional<float>(columns_.channels);
    dbeta_ = arguments.optional<float>(columns_.channels);
    sums_.resize(context.threads * 2 * columns_.channels);
    want_rows(context, columns_, 4);
  }

  int phases() const override { return 2; }

  void run(int phase, const RunContext& run) override { phase == 0 ? gather(run) : apply(run); }

 private:
  void gather(const RunContext& run) {
    const int64_t channels = columns_.channels;
    Scratch scratch(run, columns_.width);
    float *sums = scratch.row(), *products = scratch.row(), *pivot = scratch.row();
    double* total = &sums_[run.thread * 2 * channels];
    for (int64_t c = 0; c < 2 * channels; c++) total[c] = 0;
    for (int64_t c = 0; c < channels; c++) pivot[c] = mean_[c];
    columns_.spread(pivot);
    const auto [begin, end] = columns_.elements(run);
    for (int64_t at = begin; at < end; at += columns_.block) {
      for (int64_t i = 0; i < columns_.width; i++) sums[i] = products[i] = 0;
      kernels_->sum_products(dy_ + at, x_ + at, pivot, std::min(columns_.block, end - at), columns_.width, sums,
                             products);
      for (int64_t c = 0; c < channels; c++) {
        total[c] += columns_.folded(sums, c);
        total[channels + c] += columns_.folded(products, c);
      }
    }
  }

  void apply(const RunContext& run) {
    const int64_t channels = columns_.channels;
    Scratch scratch(run, columns_.width);
    float *a = scratch.row(), *b = scratch.row(), *pivot = scratch.row(), *shift = scratch.row();
    for (int64_t c = 0; c < channels; c++) {
      double dbeta = 0, centred = 0;
      for (int thread = 0; thread < run.threads; thread++) {
        dbeta += sums_[thread * 2 * channels + c];
        centred += sums_[(thread * 2 + 1) * channels + c];
      }
      const double inverse = 1 / std::sqrt(static_cast<double>(variance_[c]) + epsilon_);
      const double factor = gamma_[c] * inverse;
      const double dgamma = centred * inverse;
      const double count = static_cast<double>(columns_.pixels);
      a[c] = static_cast<float>(factor);
      b[c] = static_cast<float>(-factor * inverse * dgamma / count);
      shift[c] = static_cast<float>(-factor * dbeta / count);
      pivot[c] = mean_[c];
      if (run.thread > 0) continue;
      if (dgamma_) dgamma_[c] = static_cast<float>(dgamma);
      if (dbeta_) dbeta_[c] = static_cast<float>(dbeta);
    }
    if (!dx_) return;
    for (float* row : {a, b, pivot, shift}) columns_.spread(row);
    const auto [begin, end] = columns_.elements(run);
    kernels_->combine_columns(dy_ + begin, x_ + begin, a, b, pivot, shift, dx_ + begin, end - begin, columns_.width);
  }

  const Kernels* kernels_;
  Columns columns_;
  double epsilon_;
  float *dy_, *x_, *gamma_, *mean_, *variance_, *dx_, *dgamma_, *dbeta_;
  std::vector<double> sums_;
};

}  // namespace

StepMakers normalization_steps() {
  return {
      {"normalization", make_step<NormalizationStep>},
      {"normalizationTraining", make_step<NormalizationTrainingStep>},
      {"normalizationTrainingGradient", make_step<NormalizationGradientStep>},
  };
}

}  // namespace frostbit
