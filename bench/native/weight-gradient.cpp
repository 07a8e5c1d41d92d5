// Times the bfloat16 weight gradient against oneDNN's on ResNet-20's layers (batch 128), in turn, two threads, least of many.
//   g++ -std=c++17 -O3 -Inative/src bench/native/weight-gradient.cpp native/build/{weight-gradient,dispatch,kernels-*}.o \
//     -ldnnl -fopenmp -lpthread -o native/build/bench-weight-gradient
//   OMP_NUM_THREADS=1 native/build/bench-weight-gradient [rounds]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "dnnl-compat.h"
#include "weight-gradient.h"

using namespace frostbit;
using dnnl::memory;

namespace {

constexpr int kThreads = 2;
constexpr int64_t kBatch = 128;

struct Layer {
  int64_t inputs, outputs, size, kernel, stride, times;
};

template <class T>
T* allocate(int64_t count) {
  return static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64));
}

double milliseconds(const std::function<void(int)>& task) {
  using Clock = std::chrono::steady_clock;
  static std::vector<double> times(kThreads);
  const auto timed = [&](int thread) {
    const auto start = Clock::now();
    task(thread);
    times[thread] = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  };
  std::thread other(timed, 1);
  timed(0);
  other.join();
  return *std::max_element(times.begin(), times.end());
}

WeightGradientShape shape_of(const Layer& layer) {
  const int64_t out = layer.size / layer.stride, pad = layer.kernel / 2;
  return {layer.inputs, layer.outputs, {layer.size, layer.size}, {out, out}, {layer.kernel, layer.kernel},
          {layer.stride, layer.stride}, {1, 1}, {pad, pad}};
}

std::function<void(int)> ours(const Layer& layer, int64_t count) {
  const auto* kernels = weight_gradient_kernels();
  const auto shape = shape_of(layer);
  const int64_t images = kBatch / kThreads, in = layer.size * layer.size * layer.inputs;
  const int64_t out = shape.out[0] * shape.out[1] * layer.outputs, stride = kernels->sums_elements(shape, count);
  auto* x = allocate<uint8_t>(kBatch * in);
  auto* dy = allocate<uint16_t>(kBatch * out);
  for (int64_t i = 0; i < kBatch * in; i++) x[i] = rand() % 256;
  for (int64_t i = 0; i < kBatch * out; i++) dy[i] = 0x3f00 + rand() % 256;
  auto* sums = allocate<float>(stride * kThreads);
  auto* dw = allocate<float>(count * layer.inputs * layer.kernel * layer.kernel);
  std::vector<char*> scratch;
  for (int i = 0; i < kThreads; i++) scratch.push_back(allocate<char>(kernels->scratch_bytes(shape, images, count)));
  auto* rows = allocate<int64_t>(count);
  for (int64_t i = 0; i < count; i++) rows[i] = i * layer.outputs / count;
  return [=](int thread) {
    float* own = sums + thread * stride;
    std::fill(own, own + stride, 0.0f);
    kernels->add_up(shape, images, {x + thread * images * in, nullptr, 7}, dy + thread * images * out, rows, count, own,
                    scratch[thread]);
    kernels->give(shape, count, sums, kThreads, stride, 0.5f, count * thread / kThreads, count * (thread + 1) / kThreads,
                  dw);
  };
}

std::function<void(int)> theirs(const Layer& layer) {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  const auto shape = shape_of(layer);
  const int64_t images = kBatch / kThreads, pad = shape.begin[0];
  using type = memory::data_type;
  using tag = memory::format_tag;
  const memory::desc x({images, layer.inputs, layer.size, layer.size}, type::bf16, tag::nhwc);
  const memory::desc y({images, layer.outputs, shape.out[0], shape.out[1]}, type::bf16, tag::nhwc);
  const memory::desc w({layer.outputs, layer.inputs, layer.kernel, layer.kernel}, type::bf16, tag::any);
  const memory::desc dw({layer.outputs, layer.inputs, layer.kernel, layer.kernel}, type::f32, tag::any);
  const ConvolutionWindow window{{layer.stride, layer.stride}, {0, 0}, {pad, pad}, {pad, pad}};
  const auto hint = convolution_forward_of(cpu, {}, x, w, nullptr, y, window);
  const auto description = convolution_backward_weights_of(cpu, {}, x, dw, y, window, hint);
  struct Own {
    memory x, dw, y;
    dnnl::stream stream;
    dnnl::convolution_backward_weights primitive;
  };
  auto* own = new std::vector<Own>;
  for (int i = 0; i < kThreads; i++)
    own->push_back({memory(x, cpu), memory(description.diff_weights_desc(), cpu), memory(y, cpu), dnnl::stream(cpu),
                    dnnl::convolution_backward_weights(description)});
  for (auto& each : *own) {
    std::fill_n(static_cast<uint16_t*>(each.x.get_data_handle()), x.get_size() / 2, 0x3f80);
    std::fill_n(static_cast<uint16_t*>(each.y.get_data_handle()), y.get_size() / 2, 0x3f80);
  }
  return [own](int thread) {
    auto& [x, dw, y, stream, primitive] = (*own)[thread];
    primitive.execute(stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_DIFF_WEIGHTS, dw}});
    stream.wait();
  };
}

}  // namespace

int main(int argc, char** argv) {
  if (!weight_gradient_kernels()) return std::puts("this processor has no AVX-512-BF16"), 1;
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 200;
  const Layer layers[] = {{3, 16, 32, 3, 1, 1},  {16, 16, 32, 3, 1, 6}, {16, 32, 32, 3, 2, 1}, {32, 32, 16, 3, 1, 5},
                          {32, 64, 16, 3, 2, 1}, {64, 64, 8, 3, 1, 5},  {256, 256, 14, 3, 1, 0}, {64, 256, 28, 1, 1, 0}};
  std::printf("ms and GFLOP/s: oneDNN, then ours for all rows, 25 %%, 10 %%, 5 %%\n");
  double total[5] = {};
  for (const auto& layer : layers) {
    std::vector<std::function<void(int)>> tasks{theirs(layer)};
    for (const double share : {1.0, 0.25, 0.1, 0.05})
      tasks.push_back(ours(layer, std::max<int64_t>(1, static_cast<int64_t>(layer.outputs * share + 0.5))));
    std::vector<double> best(tasks.size(), 1e9);
    for (int round = 0; round < (layer.times ? rounds : rounds / 8); round++)
      for (size_t i = 0; i < tasks.size(); i++) best[i] = std::min(best[i], milliseconds(tasks[i]));
    const double out = static_cast<double>(layer.size / layer.stride);
    const double flops = 2.0 * kBatch * out * out * layer.inputs * layer.outputs * layer.kernel * layer.kernel;
    std::printf("%3ld x %3ld, %2ld, kernel %ld, stride %ld:", layer.inputs, layer.outputs, layer.size, layer.kernel, layer.stride);
    for (size_t i = 0; i < tasks.size(); i++) {
      std::printf(i < 2 ? " %6.3f (%3.0f)" : " %6.3f", best[i], flops / best[i] / 1e6);
      total[i] += best[i] * static_cast<double>(layer.times);
    }
    std::printf("\n");
  }
  std::printf("ResNet-20: %.1f %.1f %.1f %.1f %.1f\n", total[0], total[1], total[2], total[3], total[4]);
}
