// oneDNN's convolutions and products alone, on the shapes of ResNet-20's and an encoder layer's training steps: what
// the native engine's own steps are held against. As in the engine, every thread runs primitives of one thread on its
// share of the images, chunk by chunk. Prints one JSON object per line. Arguments: resnet20 | encoder, batch, threads,
// images of a chunk (0: a thread's whole share), milliseconds per case.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "../../native/src/dnnl-compat.h"

using dnnl::memory;
using Type = memory::data_type;
using Tag = memory::format_tag;
using Arguments = std::unordered_map<int, memory>;

namespace {

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

double now_ms() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double, std::milli>(Clock::now().time_since_epoch()).count();
}

/** Values between -0.5 and 0.5, or integers that keep clear of 8-bit saturation. */
memory filled(const memory::desc& description, Type type) {
  memory made(description, cpu());
  auto* bytes = static_cast<uint8_t*>(made.get_data_handle());
  const size_t size = description.get_size();
  for (size_t i = 0; i < size; i++) bytes[i] = (i * 2654435761u >> 8) & 0x7f;
  const auto value = [](size_t i) { return static_cast<float>((i * 2654435761u >> 8) & 0xffff) / 65536.f - .5f; };
  if (type == Type::f32)
    for (size_t i = 0; i < size / 4; i++) reinterpret_cast<float*>(bytes)[i] = value(i);
  if (type == Type::bf16)
    for (size_t i = 0; i < size / 2; i++) {
      const float whole = value(i);
      std::memcpy(bytes + 2 * i, reinterpret_cast<const char*>(&whole) + 2, 2);
    }
  return made;
}

/** What one thread executes: one primitive on each of its chunks. */
struct Share {
  dnnl::primitive primitive;
  std::vector<Arguments> chunks;
  std::string implementation;
};

struct Case {
  std::string shape;
  /** How often the shape occurs in the model. */
  int count;
  std::string kind;
  /** Of all threads together. */
  double flops;
  std::vector<Share> shares;
};

class SpinBarrier {
 public:
  explicit SpinBarrier(int threads) : threads_(threads) {}
  void wait() {
    const int turn = turn_.load();
    if (arrived_.fetch_add(1) + 1 == threads_) {
      arrived_ = 0;
      turn_++;
      return;
    }
    while (turn_.load() == turn) std::this_thread::yield();
  }

 private:
  const int threads_;
  std::atomic<int> arrived_{0}, turn_{0};
};

/** Milliseconds of each repetition: from the moment when all threads are ready to the moment when all are done. */
std::vector<double> measure(const Case& one, double budget_ms) {
  const int threads = static_cast<int>(one.shares.size());
  SpinBarrier barrier(threads);
  std::vector<double> times;
  std::atomic<bool> is_done{false};
  const auto work = [&](int thread) {
    omp_set_num_threads(1);
    dnnl::stream stream(cpu());
    const Share& share = one.shares[thread];
    const double begin = now_ms();
    for (int repetition = 0; !is_done; repetition++) {
      barrier.wait();
      const double start = now_ms();
      for (const auto& chunk : share.chunks) share.primitive.execute(stream, chunk);
      barrier.wait();
      const double end = now_ms();
      if (thread == 0 && repetition > 1) {
        times.push_back(end - start);
        is_done = end - begin > budget_ms && times.size() >= 10;
      }
      barrier.wait();
    }
  };
  std::vector<std::thread> workers;
  for (int thread = 0; thread < threads; thread++) workers.emplace_back(work, thread);
  for (auto& worker : workers) worker.join();
  std::sort(times.begin(), times.end());
  return times;
}

void report(const Case& one, double budget_ms) {
  const auto times = measure(one, budget_ms);
  std::printf(
      "{\"shape\":\"%s\",\"count\":%d,\"kind\":\"%s\",\"flops\":%.0f,\"minMs\":%.5f,\"medianMs\":%.5f,"
      "\"runs\":%zu,\"implementation\":\"%s\"}\n",
      one.shape.c_str(), one.count, one.kind.c_str(), one.flops, times.front(), times[times.size() / 2], times.size(),
      one.shares[0].implementation.c_str());
  std::fflush(stdout);
}

struct Convolution {
  std::string name;
  int count;
  int64_t inputs, outputs, size, stride;
  int64_t out_size() const { return size / stride; }
  double flops(int64_t images) const { return 2.0 * images * inputs * outputs * 9 * out_size() * out_size(); }
};

const std::vector<Convolution> kResNet20 = {
    {"3->16 32x32", 1, 3, 16, 32, 1},   {"16->16 32x32", 6, 16, 16, 32, 1},    {"16->32 32x32 /2", 1, 16, 32, 32, 2},
    {"32->32 16x16", 5, 32, 32, 16, 1}, {"32->64 16x16 /2", 1, 32, 64, 16, 2}, {"64->64 8x8", 5, 64, 64, 8, 1},
};

/** Makes one thread's share; `images` is a chunk's size. */
using MakeShare = Share (*)(const Convolution&, int64_t images, int64_t chunks, Type in, Type out);

memory::desc image(int64_t images, int64_t channels, int64_t size, Type type) {
  return {{images, channels, size, size}, type, Tag::nhwc};
}

frostbit::ConvolutionWindow window_of(const Convolution& shape) {
  return {{shape.stride, shape.stride}, {0, 0}, {1, 1}, {1, 1}};
}

Share forward(const Convolution& shape, int64_t images, int64_t chunks, Type in, Type out) {
  const auto x = image(images, shape.inputs, shape.size, in);
  const auto y = image(images, shape.outputs, shape.out_size(), out);
  const memory::desc w({shape.outputs, shape.inputs, 3, 3}, in == Type::u8 ? Type::s8 : in, Tag::any);
  const auto made = frostbit::convolution_forward_of(cpu(), {}, x, w, nullptr, y, window_of(shape));
  const auto weights = filled(made.weights_desc(), in == Type::u8 ? Type::s8 : in);
  Share share{dnnl::convolution_forward(made), {}, made.impl_info_str()};
  for (int64_t i = 0; i < chunks; i++)
    share.chunks.push_back({{DNNL_ARG_SRC, filled(x, in)}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, filled(y, out)}});
  return share;
}

Share backward_data(const Convolution& shape, int64_t images, int64_t chunks, Type in, Type out) {
  const auto dy = image(images, shape.outputs, shape.out_size(), in);
  const memory::desc w({shape.outputs, shape.inputs, 3, 3}, in, Tag::any);
  const auto hint = frostbit::convolution_forward_of(cpu(), {}, image(images, shape.inputs, shape.size, in), w, nullptr, dy,
                                                     window_of(shape));
  const auto dx = image(images, shape.inputs, shape.size, out);
  const auto made = frostbit::convolution_backward_data_of(cpu(), {}, dx, w, dy, window_of(shape), hint);
  const auto weights = filled(made.weights_desc(), in);
  Share share{dnnl::convolution_backward_data(made), {}, made.impl_info_str()};
  for (int64_t i = 0; i < chunks; i++)
    share.chunks.push_back(
        {{DNNL_ARG_DIFF_DST, filled(dy, in)}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DIFF_SRC, filled(dx, out)}});
  return share;
}

/** The input gradient as the forward convolution of dy with flipped, transposed weights; stride 1 alone. */
Share flipped_forward(const Convolution& shape, int64_t images, int64_t chunks, Type in, Type out) {
  const Convolution transposed{shape.name, shape.count, shape.outputs, shape.inputs, shape.size, 1};
  return forward(transposed, images, chunks, in, out);
}

Share backward_weights(const Convolution& shape, int64_t images, int64_t chunks, Type in, Type out) {
  const auto x = image(images, shape.inputs, shape.size, in);
  const auto dy = image(images, shape.outputs, shape.out_size(), in);
  const memory::desc w({shape.outputs, shape.inputs, 3, 3}, in, Tag::any);
  const auto hint = frostbit::convolution_forward_of(cpu(), {}, x, w, nullptr, dy, window_of(shape));
  const memory::desc dw({shape.outputs, shape.inputs, 3, 3}, out, Tag::any);
  const auto made = frostbit::convolution_backward_weights_of(cpu(), {}, x, dw, dy, window_of(shape), hint);
  Share share{dnnl::convolution_backward_weights(made), {}, made.impl_info_str()};
  for (int64_t i = 0; i < chunks; i++)
    share.chunks.push_back({{DNNL_ARG_SRC, filled(x, in)},
                            {DNNL_ARG_DIFF_DST, filled(dy, in)},
                            {DNNL_ARG_DIFF_WEIGHTS, filled(made.diff_weights_desc(), out)}});
  return share;
}

struct ConvolutionKind {
  std::string name;
  MakeShare make;
  Type in, out;
};

const std::vector<ConvolutionKind> kConvolutionKinds = {
    {"forward u8s8s32", forward, Type::u8, Type::s32},
    {"forward bf16", forward, Type::bf16, Type::bf16},
    {"forward f32", forward, Type::f32, Type::f32},
    {"dx bf16", backward_data, Type::bf16, Type::bf16},
    {"dx bf16>f32", backward_data, Type::bf16, Type::f32},
    {"dx f32", backward_data, Type::f32, Type::f32},
    {"dx as forward bf16", flipped_forward, Type::bf16, Type::bf16},
    {"dx as forward f32", flipped_forward, Type::f32, Type::f32},
    {"dw bf16>f32", backward_weights, Type::bf16, Type::f32},
    {"dw f32", backward_weights, Type::f32, Type::f32},
};

void run_resnet20(int64_t batch, int threads, int64_t images, double budget_ms) {
  const int64_t share = batch / threads;
  const int64_t chunk = images > 0 ? std::min(images, share) : share;
  for (const auto& shape : kResNet20)
    for (const auto& kind : kConvolutionKinds) {
      if (kind.make == flipped_forward && shape.stride != 1) continue;
      Case one{shape.name, shape.count, kind.name, shape.flops(share / chunk * chunk * threads), {}};
      for (int thread = 0; thread < threads; thread++)
        one.shares.push_back(kind.make(shape, chunk, share / chunk, kind.in, kind.out));
      report(one, budget_ms);
    }
}

/** C [batch, rows, columns] = A [batch, rows, inner] · B [batch, inner, columns], either operand transposed in memory.
 */
struct Product {
  std::string name;
  int count;
  int64_t batch, rows, inner, columns;
  bool is_a_transposed, is_b_transposed;
  /** A weight is packed as oneDNN likes it. */
  bool is_b_weight;
  bool has_integers;
};

std::vector<Product> encoder_products(int64_t batch) {
  const int64_t tokens = batch * 384, hidden = 768, inner = 3072, heads = batch * 12, width = 64;
  return {
      {"q k v o forward", 4, 1, tokens, hidden, hidden, false, false, true, true},
      {"q k v o dx", 4, 1, tokens, hidden, hidden, false, false, true, false},
      {"q k v o dw", 4, 1, hidden, tokens, hidden, true, false, false, false},
      {"ffn in forward", 1, 1, tokens, hidden, inner, false, false, true, true},
      {"ffn in dx", 1, 1, tokens, inner, hidden, false, false, true, false},
      {"ffn in dw", 1, 1, inner, tokens, hidden, true, false, false, false},
      {"ffn out forward", 1, 1, tokens, inner, hidden, false, false, true, true},
      {"ffn out dx", 1, 1, tokens, hidden, inner, false, false, true, false},
      {"ffn out dw", 1, 1, hidden, tokens, inner, true, false, false, false},
      {"scores", 1, heads, 384, width, 384, false, true, false, false},
      {"context", 1, heads, 384, 384, width, false, false, false, false},
      {"dscores", 1, heads, 384, width, 384, false, true, false, false},
      {"dq", 1, heads, 384, 384, width, false, false, false, false},
      {"dk, dv", 2, heads, 384, 384, width, true, false, false, false},
  };
}

memory::desc matrix(int64_t batch, int64_t rows, int64_t columns, Type type, bool is_transposed) {
  if (batch > 1) return {{batch, rows, columns}, type, is_transposed ? Tag::acb : Tag::abc};
  return {{rows, columns}, type, is_transposed ? Tag::ba : Tag::ab};
}

dnnl::matmul::primitive_desc product_of(const memory::desc& a, const memory::desc& b, const memory::desc& c) {
#if DNNL_VERSION_MAJOR >= 3
  return {cpu(), a, b, c};
#else
  return {dnnl::matmul::desc(a, b, c), cpu()};
#endif
}

Share product_share(const Product& product, Type in, Type out) {
  const Type weight = in == Type::u8 ? Type::s8 : in;
  const auto a = matrix(product.batch, product.rows, product.inner, in, product.is_a_transposed);
  const auto b = product.is_b_weight ? memory::desc({product.inner, product.columns}, weight, Tag::any)
                                     : matrix(product.batch, product.inner, product.columns, weight, product.is_b_transposed);
  const auto c = matrix(product.batch, product.rows, product.columns, out, false);
  const auto made = product_of(a, b, c);
  return {dnnl::matmul(made),
          {{{DNNL_ARG_SRC, filled(a, in)},
            {DNNL_ARG_WEIGHTS, filled(made.weights_desc(), weight)},
            {DNNL_ARG_DST, filled(c, out)}}},
          made.impl_info_str()};
}

void run_encoder(int64_t batch, int threads, double budget_ms) {
  for (const auto& product : encoder_products(batch)) {
    Product share = product;
    (product.batch > 1 ? share.batch : share.rows) /= threads;
    const double flops = 2.0 * threads * share.batch * share.rows * share.inner * share.columns;
    const auto run = [&](const char* kind, Type in, Type out) {
      Case one{product.name, product.count, kind, flops, {}};
      for (int thread = 0; thread < threads; thread++) one.shares.push_back(product_share(share, in, out));
      report(one, budget_ms);
    };
    if (product.has_integers) run("u8s8s32", Type::u8, Type::s32);
    run("bf16", Type::bf16, Type::bf16);
    run("bf16>f32", Type::bf16, Type::f32);
    run("f32", Type::f32, Type::f32);
  }
}

}  // namespace

int main(int count, char** values) {
  if (count != 6) {
    std::fprintf(stderr, "expected: resnet20|encoder batch threads images-of-a-chunk milliseconds\n");
    return 1;
  }
  omp_set_num_threads(1);  // heeded where a primitive is made too
  const std::string model = values[1];
  const int64_t batch = std::atoll(values[2]), images = std::atoll(values[4]);
  const int threads = std::atoi(values[3]);
  const double budget_ms = std::atof(values[5]);
  const dnnl_version_t* version = dnnl_version();
  std::printf("{\"oneDNN\":\"%d.%d.%d\"}\n", version->major, version->minor, version->patch);
  if (model == "encoder")
    run_encoder(batch, threads, budget_ms);
  else
    run_resnet20(batch, threads, images, budget_ms);
  return 0;
}
