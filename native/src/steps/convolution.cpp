// Convolutions and their gradients by oneDNN: channels-last images, each thread on its own ones.
#include <algorithm>
#include <cstring>
#include <map>
#include <type_traits>

#include "../dnnl-compat.h"
#include "steps.h"

namespace frostbit {
namespace {

using dnnl::memory;
using Dims = memory::dims;

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

/** One per thread of ours; a stream keeps no state that matters. */
dnnl::stream& stream() {
  thread_local dnnl::stream stream(cpu());
  return stream;
}

dnnl::primitive_attr with_own_scratchpad(bool has_zero_point = false) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (has_zero_point) set_source_zero_point(attributes);
  return attributes;
}

/** What a convolution or a gradient of one multiplies and gives; for gradients x is what takes x's place. */
struct Types {
  memory::data_type x = memory::data_type::f32, w = memory::data_type::f32, y = memory::data_type::f32;
  /** Weights as they are given, before they are packed. */
  memory::data_type plain_w = memory::data_type::f32;
};

constexpr Types kFloat{};
constexpr Types kInteger{memory::data_type::u8, memory::data_type::s8, memory::data_type::s32, memory::data_type::s8};
/** Forward and towards x; sums are float32 forward alone. */
constexpr Types kBfloat16{memory::data_type::bf16, memory::data_type::bf16, memory::data_type::f32, memory::data_type::f32};
constexpr Types kBfloat16Input{memory::data_type::bf16, memory::data_type::bf16, memory::data_type::bf16,
                               memory::data_type::f32};
constexpr Types kBfloat16Weight{memory::data_type::bf16, memory::data_type::f32, memory::data_type::bf16,
                                memory::data_type::f32};

int64_t size_of(memory::data_type type) { return static_cast<int64_t>(memory::data_type_size(type)); }

struct Convolution {
  int64_t batch, group, inputs, outputs;
  Dims in, out, kernel, strides, dilations, begin, end;
  /** oneDNN counts some of these in 32 bits. */
  static constexpr int64_t kMax = int64_t{1} << 24;
  Types types;

  Convolution(Arguments& arguments, const Types& given) : types(given) {
    batch = arguments.size(), group = arguments.size(), inputs = arguments.size(), outputs = arguments.size();
    for (Dims* list : {&in, &out, &kernel, &strides, &dilations, &begin, &end}) *list = arguments.list();
    const size_t rank = in.size();
    if (rank < 1 || rank > 3) arguments.fail("has " + std::to_string(rank) + " spatial axes");
    for (const Dims* list : {&out, &kernel, &strides, &dilations, &begin, &end})
      if (list->size() != rank) arguments.fail("has uneven lists");
    for (const Dims* list : {&in, &out, &kernel, &strides, &dilations, &begin, &end}) {
      const int64_t least = list == &begin ? 0 : list == &end ? -kMax : 1;
      for (const int64_t value : *list)
        if (value < least || value > kMax) arguments.fail("has a window or an image of " + std::to_string(value));
    }
    if (batch < 1 || inputs < 1 || outputs < 1) arguments.fail("has no images or channels");
    if (group < 1 || inputs % group != 0 || outputs % group != 0) arguments.fail("has channels that form no groups");
  }

  int64_t input_pixels() const { return product(in); }
  int64_t output_pixels() const { return product(out); }
  int64_t weights() const { return product({outputs, inputs / group, product(kernel)}); }

  ConvolutionWindow window() const {
    Dims gaps = dilations;
    for (auto& gap : gaps) gap--;
    return {strides, gaps, begin, end};
  }

  memory::desc images(int64_t count, int64_t channels, const Dims& spatial, memory::data_type type) const {
    static constexpr memory::format_tag tags[] = {memory::format_tag::nwc, memory::format_tag::nhwc, memory::format_tag::ndhwc};
    Dims dims{count, channels};
    dims.insert(dims.end(), spatial.begin(), spatial.end());
    return {dims, type, tags[spatial.size() - 1]};
  }
  memory::desc x(int64_t count) const { return images(count, inputs, in, types.x); }
  memory::desc y(int64_t count) const { return images(count, outputs, out, types.y); }

  memory::desc w(bool is_plain, int64_t rows) const {
    using tag = memory::format_tag;
    static constexpr tag single[] = {tag::oiw, tag::oihw, tag::oidhw};
    static constexpr tag grouped[] = {tag::goiw, tag::goihw, tag::goidhw};
    Dims dims = group == 1 ? Dims{rows, inputs} : Dims{group, rows / group, inputs / group};
    dims.insert(dims.end(), kernel.begin(), kernel.end());
    return {dims, is_plain ? types.plain_w : types.w,
            !is_plain ? tag::any : (group == 1 ? single : grouped)[kernel.size() - 1]};
  }
  memory::desc plain_w() const { return w(true, outputs); }

  char* x_place(Arguments& arguments) const { return arguments.bytes(size_of(types.x), batch, inputs, input_pixels()); }
  char* y_place(Arguments& arguments) const { return arguments.bytes(size_of(types.y), batch, outputs, output_pixels()); }
  ImagesOf<char> x_images(Arguments& arguments) const {
    return arguments.images<char>(batch, product({size_of(types.x), inputs, input_pixels()}));
  }
  ImagesOf<char> y_images(Arguments& arguments) const {
    return arguments.images<char>(batch, product({size_of(types.y), outputs, output_pixels()}));
  }
  char* w_place(Arguments& arguments) const { return arguments.bytes(size_of(types.plain_w), weights()); }
  /** Where the n-th image begins. */
  char* x_at(char* x, int64_t n) const { return x + n * inputs * input_pixels() * size_of(types.x); }
  char* y_at(char* y, int64_t n) const { return y + n * outputs * output_pixels() * size_of(types.y); }

  Range images_of(const RunContext& run) const { return share(run, batch); }
  Range images_of(int thread, int threads) const {
    return share(RunContext{thread, threads, nullptr, nullptr, nullptr}, batch);
  }

  /** What oneDNN wants to know for a gradient. */
  dnnl::convolution_forward::primitive_desc hint(int64_t count) const {
    Convolution like = *this;
    const bool is_narrow = types.x == memory::data_type::bf16 || types.y == memory::data_type::bf16;
    like.types = is_narrow
                     ? Types{memory::data_type::bf16, memory::data_type::bf16, memory::data_type::bf16, memory::data_type::f32}
                     : kFloat;
    return like.forward(count, like.w(false, outputs), nullptr);
  }

  dnnl::convolution_forward::primitive_desc forward(int64_t count, const memory::desc& weights, const memory::desc* bias,
                                                    bool has_zero_point = false) const {
    return convolution_forward_of(cpu(), with_own_scratchpad(has_zero_point), x(count), weights, bias, y(count), window());
  }

  /** The numbers of images that threads work on at a time, the most usual one first. */
  std::vector<int64_t> counts(const CompileContext& context) const {
    std::vector<int64_t> all;
    const auto add = [&](int64_t count) {
      if (count > 0 && std::find(all.begin(), all.end(), count) == all.end()) all.push_back(count);
    };
    for (int thread = context.threads - 1; thread >= 0; thread--) {
      const auto [begin, end] = images_of(thread, context.threads);
      const int64_t own = end - begin, at_once = context.window > 0 ? std::min(context.window, own) : own;
      add(at_once);
      if (at_once > 0) add(own % at_once);
    }
    return all;
  }
};

memory view(const memory::desc& desc, void* data) { return {desc, cpu(), data}; }

/** Another layout of the same weights; what it works in is the calling thread's own, as all scratch is. */
class Reorder {
 public:
  Reorder() = default;
  Reorder(const memory::desc& from, const memory::desc& to) : from_(from), to_(to) {
    const dnnl::reorder::primitive_desc descriptor(cpu(), from_, cpu(), to_, with_own_scratchpad());
    scratchpad_ = descriptor.scratchpad_desc();
    primitive_ = dnnl::reorder(descriptor);
  }

  size_t scratchpad() const { return scratchpad_.get_size(); }

  void run(char* from, char* to, char* scratchpad) {
    primitive_.execute(stream(), {{DNNL_ARG_FROM, view(from_, from)},
                                  {DNNL_ARG_TO, view(to_, to)},
                                  {DNNL_ARG_SCRATCHPAD, view(scratchpad_, scratchpad)}});
  }

 private:
  memory::desc from_, to_, scratchpad_;
  dnnl::reorder primitive_;
};

/** Runs `make(images)` once for each number of images that threads have, and gives each thread its own. */
template <class Descriptor, class Make>
std::vector<Descriptor> per_thread(const Convolution& convolution, int threads, Make make) {
  std::map<int64_t, Descriptor> made;
  std::vector<Descriptor> all;
  for (int thread = 0; thread < threads; thread++) {
    const auto [begin, end] = convolution.images_of(thread, threads);
    if (end > begin && made.count(end - begin) == 0) made.emplace(end - begin, make(end - begin));
    all.push_back(end > begin ? made.at(end - begin) : Descriptor());
  }
  return all;
}

/**
 * Weights from the plain layout into the one that a primitive asks for. Each thread packs small ones for itself, which is
 * sooner done than waiting for another; large ones are packed once, in a phase of their own.
 */
class PackedWeights {
 public:
  PackedWeights(const memory::desc& plain, const memory::desc& packed, char* data, size_t scratchpad, CompileContext& context)
      : plain_(plain), packed_(packed), data_(data) {
    if (is_packed()) reorder_ = Reorder(plain_, packed_);
    // The reorder has done its work when the convolution needs the place.
    own_offset_ = aligned(is_packed() ? std::max(scratchpad, reorder_.scratchpad()) : scratchpad);
    context.want_scratch(own_offset_);
    if (!is_packed()) return;
    if (is_own())
      context.want_scratch(own_offset_ + packed_.get_size());
    else
      context.want_shared(packed_.get_size());
  }

  int phases_before() const { return is_packed() && !is_own() ? 1 : 0; }
  void pack_for_all(const RunContext& run) {
    if (phases_before() == 1 && run.thread == 0) pack(run);
  }
  void pack_for_itself(const RunContext& run) {
    if (is_packed() && is_own()) pack(run);
  }

  memory get(const RunContext& run) const { return view(packed_, is_packed() ? packed_data(run) : data_); }

 private:
  static constexpr size_t kMaxOwnBytes = 1 << 20;

  void pack(const RunContext& run) { reorder_.run(data_, packed_data(run), run.scratch); }
  char* packed_data(const RunContext& run) const { return is_own() ? run.scratch + own_offset_ : run.shared; }
  bool is_packed() const { return plain_ != packed_; }
  bool is_own() const { return packed_.get_size() <= kMaxOwnBytes; }

  memory::desc plain_, packed_;
  char* data_;
  size_t own_offset_;
  Reorder reorder_;
};

template <class Primitive>
using DescriptorOf = typename Primitive::primitive_desc;

/** A primitive for each number of images, with weights that are packed alike for all. */
template <class Primitive>
class PrimitivesByCount {
 public:
  /** `make(images, weights)` gives a descriptor. */
  template <class Make>
  PrimitivesByCount(const Convolution& shape, char* w, CompileContext& context, Make make) {
    const auto counts = shape.counts(context);
    const auto chosen = make(counts.front(), shape.w(false, shape.outputs)).weights_desc();
    size_t scratchpad = 0;
    for (const int64_t count : counts) {
      const auto descriptor = make(count, chosen);
      scratchpad = std::max(scratchpad, descriptor.scratchpad_desc().get_size());
      made_.emplace(count, Made{descriptor, Primitive(descriptor)});
    }
    weights_ = std::make_unique<PackedWeights>(shape.plain_w(), chosen, w, scratchpad, context);
  }

  PackedWeights& weights() { return *weights_; }
  const DescriptorOf<Primitive>& descriptor(const Window& window) const { return made_.at(count(window)).descriptor; }
  void execute(const RunContext& run, const Window& window, std::unordered_map<int, memory> arguments) const {
    const auto& [descriptor, primitive] = made_.at(count(window));
    arguments.emplace(DNNL_ARG_WEIGHTS, weights_->get(run));
    arguments.emplace(DNNL_ARG_SCRATCHPAD, view(descriptor.scratchpad_desc(), run.scratch));
    primitive.execute(stream(), arguments);
  }

  std::string describe() const { return made_.begin()->second.descriptor.impl_info_str(); }

 private:
  struct Made {
    DescriptorOf<Primitive> descriptor;
    Primitive primitive;
  };

  static int64_t count(const Window& window) { return window.end - window.begin; }

  std::map<int64_t, Made> made_;
  std::unique_ptr<PackedWeights> weights_;
};

template <const Types& types>
class ForwardStep : public ImageStep {
 public:
  ForwardStep(Arguments& arguments, CompileContext& context) : convolution_(arguments, types) {
    const auto& shape = convolution_;
    check_images(arguments, context, shape.batch);
    x_ = shape.x_images(arguments);
    char* w = shape.w_place(arguments);
    if (is_integer())
      zero_ = arguments.place<float>(1);
    else
      bias_ = arguments.optional<float>(shape.outputs);
    y_ = shape.y_images(arguments);
    zeros_.resize(context.threads * kStride);
    bias_desc_ = memory::desc({shape.outputs}, memory::data_type::f32, memory::format_tag::x);
    for (const bool has_zero_point : {false, true})
      if (is_integer() || !has_zero_point)
        primitives_[has_zero_point] =
            std::make_unique<Primitives>(shape, w, context, [&](int64_t images, const memory::desc& weights) {
              return shape.forward(images, weights, bias_ ? &bias_desc_ : nullptr, has_zero_point);
            });
  }

  Range share_of(const RunContext& run) const override { return convolution_.images_of(run); }
  int phases_before() const override {
    return is_integer() ? std::max(primitives_[0]->weights().phases_before(), primitives_[1]->weights().phases_before())
                        : primitives_[0]->weights().phases_before();
  }
  void before(int, const RunContext& run) override { chosen().weights().pack_for_all(run); }
  void begin(const RunContext& run) override { chosen().weights().pack_for_itself(run); }

  void run_window(const RunContext& run, const Window& window) override {
    const auto& primitives = chosen();
    const auto& descriptor = primitives.descriptor(window);
    std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, view(descriptor.src_desc(), x_.at(window))},
                                              {DNNL_ARG_DST, view(descriptor.dst_desc(), y_.at(window))}};
    if (bias_) arguments.emplace(DNNL_ARG_BIAS, view(bias_desc_, bias_));
    if (zero() != 0) {
      int32_t* zero_point = &zeros_[run.thread * kStride];
      *zero_point = zero();
      arguments.emplace(DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC,
                        view({{1}, memory::data_type::s32, memory::format_tag::x}, zero_point));
    }
    primitives.execute(run, window, std::move(arguments));
  }

  std::string describe() const override {
    const std::string without = primitives_[0]->describe();
    if (!is_integer()) return without;
    const std::string with = primitives_[1]->describe();
    return with == without ? with : with + ", without a zero point " + without;
  }

 private:
  using Primitives = PrimitivesByCount<dnnl::convolution_forward>;
  /** Threads write their zero points a cache line apart. */
  static constexpr int kStride = 16;

  static constexpr bool is_integer() { return types.x == memory::data_type::u8; }
  int32_t zero() const { return is_integer() ? code_zero(*zero_) : 0; }
  /** What a ReLU gives has the zero point 0, without which oneDNN has faster kernels. */
  Primitives& chosen() { return *primitives_[zero() != 0]; }

  Convolution convolution_;
  ImagesOf<char> x_, y_;
  float *bias_ = nullptr, *zero_ = nullptr;
  std::vector<int32_t> zeros_;
  memory::desc bias_desc_;
  /** Without and with a zero point. */
  std::unique_ptr<Primitives> primitives_[2];
};

template <const Types& types>
class InputGradientStep : public ImageStep {
 public:
  InputGradientStep(Arguments& arguments, CompileContext& context) : convolution_(arguments, types) {
    const auto& shape = convolution_;
    check_images(arguments, context, shape.batch);
    dy_ = shape.y_images(arguments);
    char* w = shape.w_place(arguments);
    dx_ = shape.x_images(arguments);
    primitives_ = std::make_unique<Primitives>(shape, w, context, [&](int64_t images, const memory::desc& weights) {
      const auto hint = shape.hint(images);
      return convolution_backward_data_of(cpu(), with_own_scratchpad(), shape.x(images), weights, shape.y(images),
                                          shape.window(), hint);
    });
  }

  Range share_of(const RunContext& run) const override { return convolution_.images_of(run); }
  int phases_before() const override { return primitives_->weights().phases_before(); }
  void before(int, const RunContext& run) override { primitives_->weights().pack_for_all(run); }
  void begin(const RunContext& run) override { primitives_->weights().pack_for_itself(run); }

  void run_window(const RunContext& run, const Window& window) override {
    const auto& descriptor = primitives_->descriptor(window);
    primitives_->execute(run, window,
                         {{DNNL_ARG_DIFF_DST, view(descriptor.diff_dst_desc(), dy_.at(window))},
                          {DNNL_ARG_DIFF_SRC, view(descriptor.diff_src_desc(), dx_.at(window))}});
  }

  std::string describe() const override { return primitives_->describe(); }

 private:
  using Primitives = PrimitivesByCount<dnnl::convolution_backward_data>;

  Convolution convolution_;
  ImagesOf<char> dy_, dx_;
  std::unique_ptr<Primitives> primitives_;
};

/** The weight gradient of so many output channels: whole, or of rows that were gathered and filled up to this number. */
class WeightGradient {
 public:
  WeightGradient(const Convolution& shape, CompileContext& context) : shape_(shape) {
    const auto make = [&](int64_t images, const memory::desc& weights) {
      const auto hint = shape.hint(images);
      return convolution_backward_weights_of(cpu(), with_own_scratchpad(), shape.x(images), weights, shape.y(images),
                                             shape.window(), hint);
    };
    const auto images = shape.images_of(context.threads - 1, context.threads);
    packed_ = make(images.end - images.begin, shape.w(false, shape.outputs)).diff_weights_desc();
    descriptors_ = per_thread<dnnl::convolution_backward_weights::primitive_desc>(
        shape, context.threads, [&](int64_t count) { return make(count, packed_); });
    for (const auto& descriptor : descriptors_) {
      primitives_.push_back(descriptor ? dnnl::convolution_backward_weights(descriptor) : dnnl::convolution_backward_weights());
      if (descriptor) scratchpad_ = std::max(scratchpad_, descriptor.scratchpad_desc().get_size());
    }
    reorder_ = Reorder(packed_, shape.plain_w());
    scratchpad_ = std::max(scratchpad_, reorder_.scratchpad());
    context.want_scratch(scratchpad_);
    context.want_shared(shared_bytes(context.threads));
  }

  size_t scratchpad() const { return aligned(scratchpad_); }
  size_t packed_bytes() const { return aligned(packed_.get_size()); }
  size_t shared_bytes(int threads) const { return packed_bytes() * threads; }

  /** This thread's images; `dy` is their gradient, `x` is whole. */
  void add_up(const RunContext& run, char* x, char* dy, char* scratchpad) {
    const auto& descriptor = descriptors_[run.thread];
    if (!descriptor) return;
    const int64_t first = shape_.images_of(run).begin;
    primitives_[run.thread].execute(stream(), {{DNNL_ARG_SRC, view(descriptor.src_desc(), shape_.x_at(x, first))},
                                               {DNNL_ARG_DIFF_DST, view(descriptor.diff_dst_desc(), dy)},
                                               {DNNL_ARG_DIFF_WEIGHTS, view(packed_, run.shared + run.thread * packed_bytes())},
                                               {DNNL_ARG_SCRATCHPAD, view(descriptor.scratchpad_desc(), scratchpad)}});
  }

  /** Adds the threads' sums into the last thread's, which always has images. */
  void combine(const RunContext& run) const {
    const auto [begin, end] = share(run, static_cast<int64_t>(packed_.get_size() / sizeof(float)), 16);
    const auto part = [&](int thread) { return reinterpret_cast<float*>(run.shared + thread * packed_bytes()); };
    float* total = part(run.threads - 1);
    for (int thread = 0; thread < run.threads - 1; thread++) {
      if (!descriptors_[thread]) continue;
      const float* other = part(thread);
      for (int64_t i = begin; i < end; i++) total[i] += other[i];
    }
  }

  void give(const RunContext& run, float* dw) {
    reorder_.run(run.shared + (run.threads - 1) * packed_bytes(), reinterpret_cast<char*>(dw), run.scratch);
  }

  std::string describe() const { return descriptors_.back() ? descriptors_.back().impl_info_str() : ""; }

 private:
  Convolution shape_;
  memory::desc packed_;
  std::vector<dnnl::convolution_backward_weights::primitive_desc> descriptors_;
  std::vector<dnnl::convolution_backward_weights> primitives_;
  Reorder reorder_;
  size_t scratchpad_ = 0;
};

template <const Types& types>
class WeightGradientStep : public Step {
 public:
  WeightGradientStep(Arguments& arguments, CompileContext& context)
      : convolution_(arguments, types),
        dy_(convolution_.y_place(arguments)),
        x_(convolution_.x_place(arguments)),
        dw_(arguments.place<float>(convolution_.weights())),
        gradient_(convolution_, context) {}

  int phases() const override { return 3; }

  void run(int phase, const RunContext& run) override {
    const auto& shape = convolution_;
    char* dy = shape.y_at(dy_, shape.images_of(run).begin);
    if (phase == 0) gradient_.add_up(run, x_, dy, run.scratch);
    if (phase == 1) gradient_.combine(run);
    if (phase == 2 && run.thread == 0) gradient_.give(run, dw_);
  }

  std::string describe() const override { return gradient_.describe(); }

 private:
  Convolution convolution_;
  char *dy_, *x_;
  float* dw_;
  WeightGradient gradient_;
};

/**
 * Of the rows given at each run: their channels of dy are gathered, filled up with zeros to a multiple of 16, for each of which
 * a primitive is ready. Groups, and rows that fill up to all channels, take the whole gradient.
 */
template <const Types& types>
class WeightRowsGradientStep : public Step {
 public:
  WeightRowsGradientStep(Arguments& arguments, CompileContext& context) : convolution_(arguments, types) {
    const auto& shape = convolution_;
    count_ = arguments.integer(), max_ = arguments.size();
    dy_ = shape.y_place(arguments);
    x_ = shape.x_place(arguments);
    rows_ = arguments.place<int64_t>(max_);
    if (max_ > shape.outputs) arguments.fail("has more rows than channels");
    row_size_ = shape.weights() / shape.outputs;
    dw_ = arguments.place<float>(max_, row_size_);
    for (int64_t channels = kRows; shape.group == 1 && channels < shape.outputs; channels += kRows) {
      Convolution narrow = shape;
      narrow.outputs = channels;
      add(narrow, context);
    }
    add(shape, context);
  }

  int phases() const override { return 4; }

  void run(int phase, const RunContext& run) override {
    const int64_t count = run.size(count_);
    if (count > max_) throw PlanError("more rows than there are");
    if (count == 0) return;
    const auto& chosen =
        *std::find_if(widths_.begin(), widths_.end(), [&](const Width& width) { return width.channels >= count; });
    WeightGradient& gradient = *chosen.gradient;
    float* plain = reinterpret_cast<float*>(run.shared + gradient.shared_bytes(run.threads));
    if (phase == 0) add_up(run, chosen, count);
    if (phase == 1) gradient.combine(run);
    if (phase == 2 && run.thread == 0) gradient.give(run, plain);
    if (phase < 3) return;
    const auto [begin, end] = share(run, count);
    for (int64_t i = begin; i < end; i++) {
      const int64_t from = is_whole(chosen) ? checked_row(rows_[i], convolution_.outputs) : i;
      std::memcpy(dw_ + i * row_size_, plain + from * row_size_, row_size_ * sizeof(float));
    }
  }

  std::string describe() const override { return widths_.front().gradient->describe(); }

 private:
  static constexpr int64_t kRows = 16;
  /** Of dy. */
  using Element = std::conditional_t<types.y == memory::data_type::bf16, uint16_t, float>;

  struct Width {
    int64_t channels;
    std::unique_ptr<WeightGradient> gradient;
  };

  bool is_whole(const Width& width) const { return width.channels == convolution_.outputs; }

  void add(const Convolution& shape, CompileContext& context) {
    widths_.push_back({shape.outputs, std::make_unique<WeightGradient>(shape, context)});
    const auto& gradient = *widths_.back().gradient;
    context.want_shared(gradient.shared_bytes(context.threads) + shape.weights() * sizeof(float));
    if (shape.outputs == convolution_.outputs) return;
    const int64_t images = (shape.batch + context.threads - 1) / context.threads;
    context.want_scratch(gradient.scratchpad() + images * shape.output_pixels() * shape.outputs * sizeof(Element));
  }

  void add_up(const RunContext& run, const Width& width, int64_t count) {
    const auto& shape = convolution_;
    const auto [begin, end] = shape.images_of(run);
    char* dy = shape.y_at(dy_, begin);
    if (is_whole(width)) return width.gradient->add_up(run, x_, dy, run.scratch);
    char* gathered = run.scratch + width.gradient->scratchpad();
    const int64_t pixels = (end - begin) * shape.output_pixels();
    for (int64_t i = 0; i < count; i++) checked_row(rows_[i], shape.outputs);
    for (int64_t pixel = 0; pixel < pixels; pixel++) {
      const Element* from = reinterpret_cast<const Element*>(dy) + pixel * shape.outputs;
      Element* to = reinterpret_cast<Element*>(gathered) + pixel * width.channels;
      for (int64_t i = 0; i < count; i++) to[i] = from[rows_[i] < 0 ? rows_[i] + shape.outputs : rows_[i]];
      for (int64_t i = count; i < width.channels; i++) to[i] = 0;
    }
    width.gradient->add_up(run, x_, gathered, run.scratch);
  }

  Convolution convolution_;
  int64_t count_, max_, row_size_;
  char *dy_, *x_;
  float* dw_;
  int64_t* rows_;
  /** From few channels to all. */
  std::vector<Width> widths_;
};

}  // namespace

StepMakers convolution_steps() {
  return {
      {"convolution", make_step<ForwardStep<kFloat>>},
      {"convolution:bfloat16", make_step<ForwardStep<kBfloat16>>},
      {"convolution:integer", make_step<ForwardStep<kInteger>>},
      {"convolutionInputGradient", make_step<InputGradientStep<kFloat>>},
      {"convolutionInputGradient:bfloat16", make_step<InputGradientStep<kBfloat16Input>>},
      {"convolutionWeightGradient", make_step<WeightGradientStep<kFloat>>},
      {"convolutionWeightGradient:bfloat16", make_step<WeightGradientStep<kBfloat16Weight>>},
      {"convolutionWeightRowsGradient", make_step<WeightRowsGradientStep<kFloat>>},
      {"convolutionWeightRowsGradient:bfloat16", make_step<WeightRowsGradientStep<kBfloat16Weight>>},
  };
}

}  // namespace frostbit
