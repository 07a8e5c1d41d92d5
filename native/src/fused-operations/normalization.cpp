// Batch normalization over rows of channels.
#include <algorithm>
#include <cmath>

#include "../fused-operation.h"

namespace frostbit {
namespace {

/** Adds up a row's repeats. */
double folded(const float* sums, int64_t channel, int64_t channels, int64_t width) {
  double sum = 0;
  for (int64_t i = channel; i < width; i += channels) sum += sums[i];
  return sum;
}

/**
 * Two sums per channel: in float32 over some thousand elements, which is fast, then in double. The values are taken around a
 * pivot.
 */
class ChannelSums {
 public:
  ChannelSums(const FusedContext& context)
      : channels_(context.width),
        width_(repeated(channels_)),
        rows_(context.threads, 3, width_),
        totals_(context.threads, 3, channels_) {}

  float* pivot(int thread) { return rows_.row(thread, 0); }
  LoopMaker::Value pivot_in(LoopMaker& loop) { return loop.column(rows_.row_of_thread(0)); }
  LoopMaker::Value sums_in(LoopMaker& loop, int which) { return loop.column_sums(rows_.row_of_thread(1 + which)); }
  double total(int thread, int which, int64_t channel) { return totals_.row(thread, which)[channel]; }
  /** Rows that a thread has seen. */
  double seen(int thread) { return totals_.row(thread, 2)[0]; }
  int64_t channels() const { return channels_; }
  int64_t width() const { return width_; }

  void reset(int thread) {
    for (int row = 1; row < 3; row++)
      for (int64_t i = 0; i < width_; i++) rows_.row(thread, row)[i] = 0;
    for (int row = 0; row < 3; row++)
      for (int64_t i = 0; i < channels_; i++) totals_.row(thread, row)[i] = 0;
  }

  void set_pivot(int thread, const float* pivot) {
    for (int64_t i = 0; i < width_; i++) rows_.row(thread, 0)[i] = pivot[i % channels_];
  }

  /** `add(sums)` adds so many elements; their mean becomes the pivot. */
  template <class Add>
  void set_pivot_to_mean(int thread, int64_t count, Add add) {
    float *pivot = rows_.row(thread, 0), *sums = rows_.row(thread, 1);
    add(sums);
    for (int64_t i = 0; i < width_; i++)
      pivot[i] =
          i < channels_ ? static_cast<float>(folded(sums, i, channels_, width_) * channels_ / count) : pivot[i - channels_];
    for (int64_t i = 0; i < width_; i++) sums[i] = 0;
  }

  /** `add(sums, products)` adds a chunk of so many elements. */
  template <class Add>
  void add(const Chunk& chunk, Add add) {
    add(rows_.row(chunk.thread, 1), rows_.row(chunk.thread, 2));
    see(chunk, width_);
  }

  /** What a loop added to the sums: the first repeat's. */
  void account(const Chunk& chunk) { see(chunk, channels_); }

  void flush(int thread) { flush(thread, width_); }

 private:
  /** What a float32 adds up before it is added to a double. */
  static constexpr double kMaxTerms = 128;

  /** Rows that were added to so many sums. */
  void see(const Chunk& chunk, int64_t width) {
    const double lane_rows = static_cast<double>(width / channels_) * kMaxTerms, before = seen(chunk.thread);
    const double after = totals_.row(chunk.thread, 2)[0] = before + static_cast<double>(chunk.count / channels_);
    if (std::floor(before / lane_rows) != std::floor(after / lane_rows)) flush(chunk.thread, width);
  }

  void flush(int thread, int64_t width) {
    for (int which = 0; which < 2; which++) {
      float* sums = rows_.row(thread, 1 + which);
      double* totals = totals_.row(thread, which);
      for (int64_t i = 0; i < width; i += channels_)
        for (int64_t c = 0; c < channels_; c++) totals[c] += sums[i + c];
      std::fill_n(sums, width, 0.0f);
    }
  }

  int64_t channels_, width_;
  ThreadRows<float> rows_;
  ThreadRows<double> totals_;
};

/** Mean and biased variance of each channel; each thread around the first row that it sees, all together by Chan's formula. */
class StatisticsOperation : public FusedOperation {
 public:
  StatisticsOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        x_(arguments.elementwise<float>(context.count)),
        mean_(arguments.place<float>(context.width)),
        variance_(arguments.place<float>(context.width)),
        sums_(context) {}

  void prepare(const RunContext& run) override { sums_.reset(run.thread); }

  void run(const Chunk& chunk) override {
    const float* x = chunk.at(x_);
    if (sums_.seen(chunk.thread) == 0)
      sums_.set_pivot_to_mean(chunk.thread, chunk.count,
                              [&](float* sums) { kernels_->sum_columns(x, chunk.count, sums_.width(), sums); });
    sums_.add(chunk, [&](float* sums, float* squares) {
      kernels_->sum_moments(x, sums_.pivot(chunk.thread), chunk.count, sums_.width(), sums, squares);
    });
  }

  bool describe(LoopMaker& loop) override {
    const auto difference = loop.subtract(loop.read(x_), sums_.pivot_in(loop));
    loop.add_to(sums_.sums_in(loop, 0), difference);
    loop.add_product_to(sums_.sums_in(loop, 1), difference, difference);
    return true;
  }
  /** Its first chunk gives the pivot. */
  bool is_ready(const Chunk& chunk) override { return sums_.seen(chunk.thread) > 0; }
  void account(const Chunk& chunk) override { sums_.account(chunk); }

  void complete(const RunContext& run) override { sums_.flush(run.thread); }
  bool has_epilogue() const override { return true; }

  void epilogue(const RunContext& run) override {
    for (int64_t c = 0; c < sums_.channels(); c++) {
      double mean = 0, squares = 0, seen = 0;
      for (int thread = 0; thread < run.threads; thread++) {
        const double count = sums_.seen(thread);
        if (count == 0) continue;
        const double shift = sums_.total(thread, 0, c) / count;
        const double difference = sums_.pivot(thread)[c] + shift - mean;
        const double own = sums_.total(thread, 1, c) - count * shift * shift;
        squares += own + difference * difference * (seen * count / (seen + count));
        mean += difference * (count / (seen + count));
        seen += count;
      }
      mean_[c] = static_cast<float>(mean);
      const double variance = squares / seen;
      variance_[c] = static_cast<float>(variance < 0 ? 0 : variance);
    }
  }

 private:
  const Kernels* kernels_;
  Elementwise<float> x_;
  float *mean_, *variance_;
  ChannelSums sums_;
};

/** y = γ (x − mean) / √(variance + ε) + β with given statistics. */
class NormalizationOperation : public FusedOperation {
 public:
  NormalizationOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        channels_(context.width),
        width_(repeated(channels_)),
        epsilon_(arguments.precise()),
        x_(arguments.elementwise<float>(context.count)),
        gamma_(arguments.place<float>(channels_)),
        beta_(arguments.place<float>(channels_)),
        mean_(arguments.place<float>(channels_)),
        variance_(arguments.place<float>(channels_)),
        y_(arguments.elementwise<float>(context.count)),
        rows_(context.threads, 3, width_) {}

  void prepare(const RunContext& run) override {
    float *a = rows_.row(run.thread, 0), *pivot = rows_.row(run.thread, 1), *b = rows_.row(run.thread, 2);
    for (int64_t i = 0; i < width_; i++) {
      const int64_t c = i % channels_;
      a[i] = i < channels_ ? static_cast<float>(gamma_[c] / std::sqrt(static_cast<double>(variance_[c]) + epsilon_)) : a[c];
      pivot[i] = mean_[c];
      b[i] = beta_[c];
    }
  }

  void run(const Chunk& chunk) override {
    const auto row = [&](int i) { return rows_.row(chunk.thread, i); };
    kernels_->scale_columns(chunk.at(x_), row(0), row(1), row(2), chunk.at(y_), chunk.count, width_);
  }

  bool describe(LoopMaker& loop) override {
    const auto row = [&](int i) { return loop.column(rows_.row_of_thread(i)); };
    const auto a = row(0), pivot = row(1), b = row(2);
    loop.write(y_, loop.multiply_add(a, loop.subtract(loop.read(x_), pivot), b));
    return true;
  }

 private:
  const Kernels* kernels_;
  int64_t channels_, width_;
  double epsilon_;
  Elementwise<float> x_;
  float *gamma_, *beta_, *mean_, *variance_;
  Elementwise<float> y_;
  ThreadRows<float> rows_;
};

/** dbeta = Σ dy, dgamma = Σ dy (x − mean) / √(variance + ε) */
class NormalizationSumsOperation : public FusedOperation {
 public:
  NormalizationSumsOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        epsilon_(arguments.precise()),
        dy_(arguments.elementwise<float>(context.count)),
        x_(arguments.elementwise<float>(context.count)),
        mean_(arguments.place<float>(context.width)),
        variance_(arguments.place<float>(context.width)),
        dgamma_(arguments.place<float>(context.width)),
        dbeta_(arguments.place<float>(context.width)),
        sums_(context) {}

  void prepare(const RunContext& run) override {
    sums_.reset(run.thread);
    sums_.set_pivot(run.thread, mean_);
  }

  void run(const Chunk& chunk) override {
    sums_.add(chunk, [&](float* sums, float* products) {
      kernels_->sum_products(chunk.at(dy_), chunk.at(x_), sums_.pivot(chunk.thread), chunk.count, sums_.width(), sums,
                             products);
    });
  }

  bool describe(LoopMaker& loop) override {
    const auto dy = loop.read(dy_);
    loop.add_to(sums_.sums_in(loop, 0), dy);
    loop.add_product_to(sums_.sums_in(loop, 1), dy, loop.subtract(loop.read(x_), sums_.pivot_in(loop)));
    return true;
  }
  void account(const Chunk& chunk) override { sums_.account(chunk); }

  void complete(const RunContext& run) override { sums_.flush(run.thread); }
  bool has_epilogue() const override { return true; }

  void epilogue(const RunContext& run) override {
    for (int64_t c = 0; c < sums_.channels(); c++) {
      double dbeta = 0, centred = 0;
      for (int thread = 0; thread < run.threads; thread++) {
        dbeta += sums_.total(thread, 0, c);
        centred += sums_.total(thread, 1, c);
      }
      dbeta_[c] = static_cast<float>(dbeta);
      dgamma_[c] = static_cast<float>(centred / std::sqrt(static_cast<double>(variance_[c]) + epsilon_));
    }
  }

 private:
  const Kernels* kernels_;
  double epsilon_;
  Elementwise<float> dy_, x_;
  float *mean_, *variance_, *dgamma_, *dbeta_;
  ChannelSums sums_;
};

/** dx = γ r (dy − dbeta/n − (x − mean) r dgamma/n) with r = 1 / √(variance + ε) */
class NormalizationGradientOperation : public FusedOperation {
 public:
  NormalizationGradientOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        channels_(context.width),
        width_(repeated(channels_)),
        rows_count_(static_cast<double>(context.count / context.width)),
        epsilon_(arguments.precise()),
        dy_(arguments.elementwise<float>(context.count)),
        x_(arguments.elementwise<float>(context.count)),
        gamma_(arguments.place<float>(channels_)),
        mean_(arguments.place<float>(channels_)),
        variance_(arguments.place<float>(channels_)),
        dgamma_(arguments.place<float>(channels_)),
        dbeta_(arguments.place<float>(channels_)),
        dx_(arguments.elementwise<float>(context.count)),
        rows_(context.threads, 4, width_) {}

  void prepare(const RunContext& run) override {
    const auto row = [&](int i) { return rows_.row(run.thread, i); };
    for (int64_t i = 0; i < width_; i++) {
      const int64_t c = i % channels_;
      if (i >= channels_) {
        for (int j = 0; j < 4; j++) row(j)[i] = row(j)[c];
        continue;
      }
      const double inverse = 1 / std::sqrt(static_cast<double>(variance_[c]) + epsilon_);
      const double factor = gamma_[c] * inverse;
      row(0)[c] = static_cast<float>(factor);
      row(1)[c] = static_cast<float>(-factor * inverse * dgamma_[c] / rows_count_);
      row(2)[c] = mean_[c];
      row(3)[c] = static_cast<float>(-factor * dbeta_[c] / rows_count_);
    }
  }

  void run(const Chunk& chunk) override {
    const auto row = [&](int i) { return rows_.row(chunk.thread, i); };
    kernels_->combine_columns(chunk.at(dy_), chunk.at(x_), row(0), row(1), row(2), row(3), chunk.at(dx_), chunk.count, width_);
  }

  bool describe(LoopMaker& loop) override {
    const auto row = [&](int i) { return loop.column(rows_.row_of_thread(i)); };
    const auto of_dy = row(0), of_x = row(1), pivot = row(2), shift = row(3);
    const auto centred = loop.subtract(loop.read(x_), pivot);
    loop.write(dx_, loop.multiply_add(of_dy, loop.read(dy_), loop.multiply_add(of_x, centred, shift)));
    return true;
  }

 private:
  const Kernels* kernels_;
  int64_t channels_, width_;
  double rows_count_, epsilon_;
  Elementwise<float> dy_, x_;
  float *gamma_, *mean_, *variance_, *dgamma_, *dbeta_;
  Elementwise<float> dx_;
  ThreadRows<float> rows_;
};

}  // namespace

FusedOperationMakers normalization_operations() {
  return {
      {"statistics", make_operation<StatisticsOperation>},
      {"normalization", make_operation<NormalizationOperation>},
      {"normalizationSums", make_operation<NormalizationSumsOperation>},
      {"normalizationGradient", make_operation<NormalizationGradientOperation>},
  };
}

}  // namespace frostbit
