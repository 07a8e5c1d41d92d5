// Times gradients of 3 × 3 convolutions (64 images, one thread) in turn: oneDNN's in bfloat16, our direct ones, and
// ours by Winograd's algorithm; weight gradients of all rows and of fewer too. One argument: rounds. Prints JSON: a
// record a shape, the least milliseconds of each.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "dnnl-compat.h"
#include "weight-gradient.h"
#include "winograd.h"

using namespace frostbit;
using dnnl::memory;

namespace {

constexpr int64_t kBatch = 64;

/** Channels on both sides, and the side of the images. */
struct Layer {
  int64_t inputs, outputs, size;
};

using Task = std::pair<std::string, std::function<void()>>;

PlaneConvolution shape_of(const Layer& layer) {
  const int64_t size = layer.size;
  return {layer.inputs, layer.outputs, {size, size}, {size, size}, {3, 3}, {1, 1}, {1, 1}, {1, 1}};
}

/** Kept until the program ends. */
template <class T>
T* allocate(int64_t count) {
  auto* data = static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64));
  for (int64_t i = 0; i < count; i++) {
    if constexpr (std::is_same_v<T, float>)
      data[i] = static_cast<float>(rand() % 2000 - 1000) / 500;
    else
      data[i] = static_cast<T>(std::is_same_v<T, uint16_t> ? 0x3f00 + rand() % 256 : rand() % 256);
  }
  return data;
}

template <class Element>
std::function<void()> weight_gradient(const WeightGradientKernels<Element>& kernels, const Layer& layer, int64_t count) {
  const auto shape = shape_of(layer);
  const int64_t pixels = kBatch * layer.size * layer.size, stride = kernels.sums_elements(shape, count);
  const auto* x = allocate<uint8_t>(pixels * layer.inputs);
  const auto* dy = allocate<Element>(pixels * layer.outputs);
  auto* sums = allocate<float>(stride);
  auto* dw = allocate<float>(count * layer.inputs * 9);
  auto* scratch = allocate<char>(kernels.scratch_bytes(shape, kBatch, count));
  auto* rows = allocate<int64_t>(count);
  for (int64_t i = 0; i < count; i++) rows[i] = i * layer.outputs / count;
  return [=, &kernels] {
    std::fill(sums, sums + stride, 0.0f);
    kernels.add_up(shape, kBatch, {x, nullptr, 7}, dy, rows, count, sums, scratch);
    kernels.give(shape, count, sums, 1, stride, 0.5f, 0, count, dw);
  };
}

template <class Element>
std::function<void()> input_gradient(const WinogradKernels<Element>& kernels, const Layer& layer) {
  const auto shape = input_gradient_of(shape_of(layer));
  const int64_t pixels = kBatch * layer.size * layer.size, w_step = layer.inputs * 9;
  const auto* dy = allocate<Element>(pixels * layer.outputs);
  auto* dx = allocate<Element>(pixels * layer.inputs);
  const auto* w = allocate<float>(layer.outputs * w_step);
  auto* filter = allocate<char>(kernels.filter_bytes(shape));
  auto* scratch = allocate<char>(kernels.scratch_bytes(shape, kBatch));
  return [=, &kernels] {
    kernels.transform(shape, {w, 9, w_step, true}, 0, shape.x.channels, filter);
    kernels.run(shape, kBatch, dy, filter, nullptr, dx, scratch);
  };
}

struct OneDnn {
  dnnl::engine cpu{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{cpu};
  ConvolutionWindow window{{1, 1}, {0, 0}, {1, 1}, {1, 1}};
  memory::desc x, y, w, dw;

  explicit OneDnn(const Layer& layer) {
    using type = memory::data_type;
    using tag = memory::format_tag;
    const memory::dims weights{layer.outputs, layer.inputs, 3, 3};
    x = {{kBatch, layer.inputs, layer.size, layer.size}, type::bf16, tag::nhwc};
    y = {{kBatch, layer.outputs, layer.size, layer.size}, type::bf16, tag::nhwc};
    w = {weights, type::bf16, tag::any}, dw = {weights, type::f32, tag::any};
  }

  memory filled(const memory::desc& desc) const {
    return {desc, cpu, allocate<uint16_t>(static_cast<int64_t>(desc.get_size() / sizeof(uint16_t)))};
  }
  auto hint() const { return convolution_forward_of(cpu, {}, x, w, nullptr, y, window); }

  std::function<void()> input_gradient() const {
    const auto description = convolution_backward_data_of(cpu, {}, x, w, y, window, hint());
    const dnnl::convolution_backward_data primitive(description);
    const memory dx = filled(x), weights = filled(description.weights_desc()), dy = filled(y);
    return [=, stream = stream]() mutable {
      primitive.execute(stream, {{DNNL_ARG_DIFF_SRC, dx}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DIFF_DST, dy}});
    };
  }

  std::function<void()> weight_gradient() const {
    const auto description = convolution_backward_weights_of(cpu, {}, x, dw, y, window, hint());
    const dnnl::convolution_backward_weights primitive(description);
    const memory input = filled(x), weights = filled(description.diff_weights_desc()), dy = filled(y);
    return [=, stream = stream]() mutable {
      primitive.execute(stream, {{DNNL_ARG_SRC, input}, {DNNL_ARG_DIFF_WEIGHTS, weights}, {DNNL_ARG_DIFF_DST, dy}});
    };
  }
};

std::vector<Task> tasks_of(const Layer& layer) {
  const OneDnn theirs(layer);
  std::vector<Task> tasks{
      {"dx oneDNN bf16", theirs.input_gradient()},
      {"dx winograd f32", input_gradient(*winograd_kernels<float>(), layer)},
      {"dx winograd bf16", input_gradient(*winograd_kernels<uint16_t>(), layer)},
      {"dw oneDNN bf16", theirs.weight_gradient()},
      {"dw winograd f32", weight_gradient(*winograd_weight_gradient<float>(), layer, layer.outputs)},
  };
  for (const int64_t rows : {layer.outputs, layer.outputs / 2, int64_t{16}, int64_t{12}, int64_t{8}, int64_t{1}}) {
    const std::string count = " " + std::to_string(rows) + " rows";
    tasks.push_back({"dw direct bf16" + count, weight_gradient(*direct_weight_gradient(), layer, rows)});
    tasks.push_back({"dw winograd bf16" + count, weight_gradient(*winograd_weight_gradient<uint16_t>(), layer, rows)});
  }
  return tasks;
}

void time_layer(const Layer& layer, int rounds) {
  using Clock = std::chrono::steady_clock;
  const auto tasks = tasks_of(layer);
  std::vector<double> fastest(tasks.size(), 1e9);
  for (int round = 0; round < rounds; round++)
    for (size_t i = 0; i < tasks.size(); i++) {
      const auto start = Clock::now();
      tasks[i].second();
      fastest[i] = std::min(fastest[i], std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    }
  std::printf("{\"inputs\": %ld, \"outputs\": %ld, \"size\": %ld, \"ms\": {", layer.inputs, layer.outputs, layer.size);
  for (size_t i = 0; i < tasks.size(); i++) std::printf("%s\"%s\": %.4f", i ? ", " : "", tasks[i].first.c_str(), fastest[i]);
  std::printf("}}\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (!direct_weight_gradient()) return std::fputs("this processor has no AVX-512-BF16\n", stderr), 1;
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 100;
  // ResNet-20's, then wider ones and some whose sides differ.
  for (const Layer& layer : {Layer{16, 16, 32},
                             {32, 32, 16},
                             {64, 64, 8},
                             {128, 128, 14},
                             {256, 256, 14},
                             {16, 32, 32},
                             {32, 16, 32},
                             {16, 64, 16},
                             {64, 16, 16}})
    time_layer(layer, layer.inputs < 128 ? rounds : rounds / 4 + 1);
  return 0;
}
