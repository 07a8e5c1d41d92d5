// Pools over channels-last images with up to three spatial axes, and their gradients.
#include <algorithm>
#include <cmath>

#include "steps.h"

namespace frostbit {
namespace {

struct PoolWindow {
  int64_t batch, channels;
  std::vector<int64_t> in, out, kernel, strides, dilations, pads;
  /** Whether a mean divides by the whole window, padding included. */
  bool counts_pads;
  std::vector<int64_t> ends;
  static constexpr int64_t kMax = int64_t{1} << 24;

  explicit PoolWindow(Arguments& arguments)
      : batch(arguments.size()),
        channels(arguments.size()),
        in(arguments.integers(3)),
        out(arguments.integers(3)),
        kernel(arguments.integers(3)),
        strides(arguments.integers(3)),
        dilations(arguments.integers(3)),
        pads(arguments.integers(3)),
        counts_pads(arguments.integer() != 0),
        ends(arguments.integers(3)) {
    for (const auto* list : {&kernel, &strides, &dilations, &pads, &ends})
      for (const int64_t value : *list)
        if (value < -kMax || value > kMax) arguments.fail("has a window of " + std::to_string(value));
    if (product(kernel) > kMax) arguments.fail("has a window of " + std::to_string(product(kernel)));
  }

  int64_t inputs() const { return product({batch, in[0], in[1], in[2], channels}); }
  int64_t outputs() const { return product({batch, out[0], out[1], out[2], channels}); }

  /** `visit(inputPixel)` for what the window of an output pixel covers, row-major. */
  template <class Visit>
  void each(int64_t pixel, Visit visit) const {
    const int64_t place[3] = {pixel / (out[1] * out[2]), pixel / out[2] % out[1], pixel % out[2]};
    int64_t from[3];
    for (int axis = 0; axis < 3; axis++) from[axis] = place[axis] * strides[axis] - pads[axis];
    for (int64_t i = 0; i < kernel[0]; i++)
      for (int64_t j = 0; j < kernel[1]; j++)
        for (int64_t k = 0; k < kernel[2]; k++) {
          const int64_t at[3] = {from[0] + i * dilations[0], from[1] + j * dilations[1], from[2] + k * dilations[2]};
          if (at[0] < 0 || at[1] < 0 || at[2] < 0 || at[0] >= in[0] || at[1] >= in[1] || at[2] >= in[2]) continue;
          visit((at[0] * in[1] + at[1]) * in[2] + at[2]);
        }
  }

  /** The input pixel of a channel's first maximum in the window of an output pixel; −1 where the window lies outside. */
  int64_t first_largest(int64_t pixel, const float* image, int64_t channel) const {
    int64_t best = -1;
    each(pixel, [&](int64_t at) {
      if (best < 0 || image[at * channels + channel] > image[best * channels + channel]) best = at;
    });
    return best;
  }

  /** What a mean over the window of an output pixel divides by; padding counts up to its given end. */
  float divisor(int64_t pixel) const {
    const int64_t place[3] = {pixel / (out[1] * out[2]), pixel / out[2] % out[1], pixel % out[2]};
    int64_t count = 1;
    for (int axis = 0; axis < 3; axis++) {
      int64_t inside = 0;
      for (int64_t i = 0; i < kernel[axis]; i++) {
        const int64_t at = place[axis] * strides[axis] - pads[axis] + i * dilations[axis];
        inside += counts_pads ? at < in[axis] + ends[axis] : at >= 0 && at < in[axis];
      }
      count *= inside;
    }
    return static_cast<float>(std::max<int64_t>(count, 1));
  }
};

/** The largest of each window, or the mean. */
template <bool is_mean>
class PoolStep : public Step {
 public:
  PoolStep(Arguments& arguments, CompileContext&)
      : window_(arguments), x_(arguments.place<float>(window_.inputs())), y_(arguments.place<float>(window_.outputs())) {}

  void run(int, const RunContext& run) override {
    const int64_t pixels = product(window_.out), channels = window_.channels;
    const auto [begin, end] = share(run, window_.batch * pixels);
    for (int64_t i = begin; i < end; i++) {
      const float* image = x_ + i / pixels * product(window_.in) * channels;
      float* y = y_ + i * channels;
      for (int64_t c = 0; c < channels; c++) y[c] = is_mean ? 0 : -INFINITY;
      window_.each(i % pixels, [&](int64_t at) {
        const float* x = image + at * channels;
        for (int64_t c = 0; c < channels; c++) y[c] = is_mean ? y[c] + x[c] : x[c] > y[c] ? x[c] : y[c];
      });
      if (!is_mean) continue;
      const float divisor = window_.divisor(i % pixels);
      for (int64_t c = 0; c < channels; c++) y[c] /= divisor;
    }
  }

 private:
  PoolWindow window_;
  float *x_, *y_;
};

/** Where each window's first maximum lies in x as ONNX counts: row-major, images and channels before pixels; −1 for none. */
class MaxPoolIndicesStep : public Step {
 public:
  MaxPoolIndicesStep(Arguments& arguments, CompileContext&)
      : window_(arguments), x_(arguments.place<float>(window_.inputs())), y_(arguments.place<int64_t>(window_.outputs())) {}

  void run(int, const RunContext& run) override {
    const int64_t pixels = product(window_.out), size = product(window_.in), channels = window_.channels;
    const auto [begin, end] = share(run, window_.batch * pixels);
    for (int64_t i = begin; i < end; i++) {
      const float* image = x_ + i / pixels * size * channels;
      for (int64_t c = 0; c < channels; c++) {
        const int64_t best = window_.first_largest(i % pixels, image, c);
        y_[i * channels + c] = best < 0 ? -1 : (i / pixels * channels + c) * size + best;
      }
    }
  }

 private:
  PoolWindow window_;
  float* x_;
  int64_t* y_;
};

/** To the first maximum of each window. */
class MaxPoolGradientStep : public Step {
 public:
  MaxPoolGradientStep(Arguments& arguments, CompileContext&)
      : window_(arguments),
        dy_(arguments.place<float>(window_.outputs())),
        x_(arguments.place<float>(window_.inputs())),
        dx_(arguments.place<float>(window_.inputs())) {}

  void run(int, const RunContext& run) override {
    const int64_t pixels = product(window_.out), size = product(window_.in), channels = window_.channels;
    const auto [begin, end] = share(run, window_.batch);
    std::fill(dx_ + begin * size * channels, dx_ + end * size * channels, 0.0f);
    for (int64_t i = begin * pixels; i < end * pixels; i++) {
      const float* x = x_ + i / pixels * size * channels;
      float* dx = dx_ + i / pixels * size * channels;
      for (int64_t c = 0; c < channels; c++) {
        const int64_t best = window_.first_largest(i % pixels, x, c);
        if (best >= 0) dx[best * channels + c] += dy_[i * channels + c];
      }
    }
  }

 private:
  PoolWindow window_;
  float *dy_, *x_, *dx_;
};

class AveragePoolGradientStep : public Step {
 public:
  AveragePoolGradientStep(Arguments& arguments, CompileContext&)
      : window_(arguments), dy_(arguments.place<float>(window_.outputs())), dx_(arguments.place<float>(window_.inputs())) {}

  void run(int, const RunContext& run) override {
    const int64_t pixels = product(window_.out), size = product(window_.in), channels = window_.channels;
    const auto [begin, end] = share(run, window_.batch);
    std::fill(dx_ + begin * size * channels, dx_ + end * size * channels, 0.0f);
    for (int64_t i = begin * pixels; i < end * pixels; i++) {
      float* image = dx_ + i / pixels * size * channels;
      const float* dy = dy_ + i * channels;
      const float divisor = window_.divisor(i % pixels);
      window_.each(i % pixels, [&](int64_t at) {
        for (int64_t c = 0; c < channels; c++) image[at * channels + c] += dy[c] / divisor;
      });
    }
  }

 private:
  PoolWindow window_;
  float *dy_, *dx_;
};

}  // namespace

StepMakers pooling_steps() {
  return {
      {"maxPool", make_step<PoolStep<false>>},
      {"maxPoolIndices", make_step<MaxPoolIndicesStep>},
      {"maxPoolGradient", make_step<MaxPoolGradientStep>},
      {"averagePool", make_step<PoolStep<true>>},
      {"averagePoolGradient", make_step<AveragePoolGradientStep>},
  };
}

}  // namespace frostbit
