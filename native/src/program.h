// A compiled plan: steps over places in memory, run by all threads of a pool.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace frostbit {

/** What a plan does wrong; becomes a JavaScript error. */
struct PlanError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/** Zeroed, aligned bytes that plans refer to. */
class Memory {
 public:
  explicit Memory(size_t bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  bool is_mapped() const;

  size_t bytes_, reserved_;
  char* data_;
};

/** Bytes of a memory that a step reads or writes; absent where an operand is left out. */
struct Place {
  char* data = nullptr;
  size_t bytes = 0;
  /** Of a fused step's operations: which of the thread's buffers it is, of a chunk's size; −1 where it is memory. */
  int local = -1;
  /** Of a step of windows: where in the thread's buffers its images of one window lie; −1 where it is memory. */
  int64_t window = -1;
};

struct StepDescription {
  std::string kernel;
  std::vector<Place> places;
  std::vector<int64_t> ints;
  std::vector<double> floats;
  /** What a fused step does to each chunk, in this order. */
  std::vector<StepDescription> operations;
};

/** What compiling a step may ask for. */
struct CompileContext {
  int threads;
  const Kernels* kernels;
  /** The largest scratch that any step wants, per thread. */
  size_t scratch_bytes = 0;
  /** The same of the scratch that all threads share. */
  size_t shared_bytes = 0;
  /** Where steps go over images window by window: images of the batch, and of a window at most. */
  int64_t images = 0, window = 0;

  void want_scratch(size_t bytes) {
    if (bytes > scratch_bytes) scratch_bytes = bytes;
  }
  void want_shared(size_t bytes) {
    if (bytes > shared_bytes) shared_bytes = bytes;
  }
};

/** What one thread knows while it runs a step. */
struct RunContext {
  int thread;
  int threads;
  /** Numbers of rows, by index; known only when the program runs. */
  const std::vector<int64_t>* counts;
  char* scratch;
  char* shared;

  /** A size of the plan: itself, or −1−i for the i-th count. */
  int64_t size(int64_t planned) const {
    if (planned >= 0) return planned;
    if (static_cast<uint64_t>(-1 - planned) >= counts->size()) throw PlanError("a count was not given");
    return (*counts)[-1 - planned];
  }
};

struct Range {
  int64_t begin;
  int64_t end;
};

/** This thread's part of `count` things, in multiples of `unit`. */
inline Range share(const RunContext& run, int64_t count, int64_t unit = 1) {
  const int64_t units = (count + unit - 1) / unit;
  const int64_t begin = units * run.thread / run.threads * unit;
  const int64_t end = units * (run.thread + 1) / run.threads * unit;
  return {begin < count ? begin : count, end < count ? end : count};
}

/** Images of the batch that one thread works on at a time, and its buffers for what passes between steps. */
struct Window {
  int64_t begin, end;
  char* buffers;
  /** Whether codes of these images are of what is no number: what is made of them is none either. */
  bool* has_odd_codes;
};

/** All threads call `run` for each phase in turn, with a barrier after each. */
class Step {
 public:
  virtual ~Step() = default;
  virtual int phases() const { return 1; }
  virtual void run(int phase, const RunContext& context) = 0;
  /** What implements it, for people. */
  virtual std::string describe() const { return ""; }
};

/**
 * A step that makes each image of images: it goes over a thread's share alone, or window by window in turn with others. What it
 * does for the batch as a whole comes before and after, in phases of their own.
 */
class ImageStep : public Step {
 public:
  virtual int phases_before() const { return 0; }
  virtual void before(int, const RunContext&) {}
  /** Each thread, before its first window. */
  virtual void begin(const RunContext&) {}
  virtual void run_window(const RunContext& run, const Window& window) = 0;
  /** Each thread, after its last window. */
  virtual void end(const RunContext&) {}
  virtual int phases_after() const { return 0; }
  virtual void after(int, const RunContext&) {}
  /** What is divided among threads where it goes alone. */
  virtual Range share_of(const RunContext& run) const = 0;

  int phases() const final { return phases_before() + 1 + phases_after(); }

  void run(int phase, const RunContext& run) final {
    if (phase < phases_before()) return before(phase, run);
    if (phase > phases_before()) return after(phase - phases_before() - 1, run);
    const auto [first, last] = share_of(run);
    bool has_odd_codes = false;
    begin(run);
    if (first < last) run_window(run, {first, last, nullptr, &has_odd_codes});
    end(run);
  }
};

/** More than any memory holds, and few enough that offsets do not overflow. */
constexpr int64_t kMaxElements = int64_t{1} << 40;

/** The product of sizes; negative ones, and products beyond kMaxElements of those that are not 0, are refused. */
inline int64_t checked_product(const int64_t* sizes, size_t count) {
  int64_t result = 1;
  bool is_empty = false;
  for (size_t i = 0; i < count; i++) {
    if (sizes[i] < 0) throw PlanError("a size of " + std::to_string(sizes[i]));
    is_empty = is_empty || sizes[i] == 0;
    if (sizes[i] > 0 && sizes[i] > kMaxElements / result) throw PlanError("sizes beyond any memory");
    if (sizes[i] > 0) result *= sizes[i];
  }
  return is_empty ? 0 : result;
}

/** An element-wise operand of a fused operation: memory, of which each chunk has its place, or a buffer of the thread's. */
template <class T>
struct Elementwise {
  T* data = nullptr;
  int local = -1;
  /** Of the window's buffers: bytes from their beginning. */
  int64_t window = -1;

  explicit operator bool() const { return data || local >= 0 || window >= 0; }
};

/** Images one after the other: those of a batch in memory, or those of a window in the thread's buffers. */
template <class T>
struct ImagesOf {
  T* data = nullptr;
  int64_t elements = 0, window = -1;

  /** The window's first. */
  T* at(const Window& run) const {
    return window < 0 ? data + run.begin * elements : reinterpret_cast<T*>(run.buffers + window);
  }
};

/** Takes a step's description apart; whatever does not fit is a PlanError. */
class Arguments {
 public:
  explicit Arguments(const StepDescription& description) : description_(description) {}

  const std::vector<StepDescription>& operations() const { return description_.operations; }

  /** The next place as an element-wise operand of `count` elements. */
  template <class T>
  Elementwise<T> elementwise(int64_t count) {
    const Elementwise<T> operand = optional_elementwise<T>(count);
    if (!operand && count > 0) fail("lacks place " + std::to_string(place_ - 1));
    return operand;
  }

  template <class T>
  Elementwise<T> optional_elementwise(int64_t count) {
    if (place_ >= description_.places.size()) fail("has too few places");
    const Place& place = description_.places[place_];
    if (place.window >= 0) return {nullptr, -1, window_place(place, checked_product(&count, 1), sizeof(T))};
    if (place.local < 0) return {optional<T>(count)};
    if (sizeof(T) > sizeof(float)) fail("has a buffer of more than 32 bits an element");
    place_++;
    return {nullptr, place.local};
  }

  /** The next place as so many images of `elements`. */
  template <class T>
  ImagesOf<T> images(int64_t count, int64_t elements) {
    const int64_t sizes[] = {count, elements};
    if (place_ < description_.places.size() && description_.places[place_].window >= 0)
      return {nullptr, elements, window_place(description_.places[place_], checked_product(sizes, 2), sizeof(T))};
    return {place<T>(count, elements), elements};
  }

  /** The next place, with room for as many elements as the sizes' product. */
  template <class T, class... Sizes>
  T* place(Sizes... sizes) {
    T* data = optional<T>(sizes...);
    if (!data && elements(sizes...) > 0) fail("lacks place " + std::to_string(place_ - 1));
    return data;
  }

  template <class T, class... Sizes>
  T* optional(Sizes... sizes) {
    const int64_t count = elements(sizes...);
    if (place_ >= description_.places.size()) fail("has too few places");
    const Place& place = description_.places[place_++];
    if (place.local >= 0 || place.window >= 0)
      fail("has a buffer at place " + std::to_string(place_ - 1) + ", which is read as a whole");
    if (place.data && static_cast<size_t>(count) > place.bytes / sizeof(T))
      fail("wants " + std::to_string(count) + " elements at place " + std::to_string(place_ - 1) + " of " +
           std::to_string(place.bytes) + " bytes");
    if (reinterpret_cast<uintptr_t>(place.data) % alignof(T) != 0)
      fail("has a place " + std::to_string(place_ - 1) + " that is not aligned");
    return reinterpret_cast<T*>(place.data);
  }

  /** The next place, with room for as many elements of `size` bytes as the other sizes' product. */
  template <class... Sizes>
  char* bytes(int64_t size, Sizes... sizes) {
    return place<char>(size, sizes...);
  }

  int64_t integer() {
    if (int_ >= description_.ints.size()) fail("has too few integers");
    return description_.ints[int_++];
  }

  /** A size: not negative and not absurd. */
  int64_t size() {
    const int64_t value = integer();
    if (value < 0 || value > kMaxElements) fail("has a size of " + std::to_string(value));
    return value;
  }

  std::vector<int64_t> integers(int64_t count) {
    std::vector<int64_t> values;
    for (int64_t i = 0; i < count; i++) values.push_back(integer());
    return values;
  }

  /** A length and as many integers. */
  std::vector<int64_t> list() {
    const int64_t count = integer();
    if (count < 0 || count > 64) fail("has a list of " + std::to_string(count));
    return integers(count);
  }

  double precise() {
    if (float_ >= description_.floats.size()) fail("has too few numbers");
    return description_.floats[float_++];
  }

  float number() { return static_cast<float>(precise()); }

  [[noreturn]] void fail(const std::string& what) const { throw PlanError("step " + description_.kernel + " " + what); }

 private:
  int64_t window_place(const Place& place, int64_t count, size_t size) {
    if (static_cast<size_t>(count) != place.bytes / size)
      fail("wants " + std::to_string(count) + " elements at place " + std::to_string(place_) + " of " +
           std::to_string(place.bytes) + " bytes");
    place_++;
    return place.window;
  }

  template <class... Sizes>
  int64_t elements(Sizes... sizes) const {
    const int64_t list[] = {sizes...};
    return checked_product(list, sizeof...(sizes));
  }

  const StepDescription& description_;
  size_t place_ = 0, int_ = 0, float_ = 0;
};

using MakeStep = std::unique_ptr<Step> (*)(Arguments&, CompileContext&);

/** By the kernel's name; null where there is none. */
MakeStep step_maker(const std::string& kernel);

/** Makes a step; what it cannot be made of is a PlanError. */
std::unique_ptr<Step> make_step_of(const StepDescription& description, CompileContext& context);

/** Bytes that each turn of a run takes over before its first step, in pieces of arrays that nobody changes meanwhile. */
struct Given {
  std::shared_ptr<Memory> memory;
  size_t offset;
  /** Each holds as many pieces, but for the last. */
  std::vector<Place> arrays;
  size_t piece_bytes;
  /** Which pieces they are, turn after turn. */
  std::vector<int32_t> places;
  /** Where more than one: 32-bit elements of images of so many planes, which come to lie channels last. */
  size_t channels, plane;
};

/** The bytes of an array as they come to lie in a memory. */
void take_piece(const Place& piece, char* to, size_t channels, size_t plane);

/** Bytes of a memory, kept at the end of each turn. */
struct Kept {
  std::shared_ptr<Memory> memory;
  size_t offset, bytes;
  std::vector<char> all;
};

struct Run {
  std::vector<int64_t> counts;
  std::vector<Given> given;
  /** How often the steps run, one time after the other. */
  size_t turns = 1;
  std::vector<Kept> kept;
  std::shared_ptr<std::atomic<bool>> aborted;
};

class Program {
 public:
  Program(int threads, std::vector<std::shared_ptr<Memory>> memories, const std::vector<StepDescription>& steps,
          int64_t first_commit);

  /**
   * Whether it ran to its end. An abort is heeded until the first step that writes a variable, in the first turn. Throws what a
   * step threw.
   */
  bool run(Run& run);
  int threads() const { return pool_->threads(); }
  std::vector<std::string> describe() const;
  size_t scratch_bytes() const { return scratch_bytes_; }
  /** Milliseconds that each step took in the last run, as the first thread saw it. */
  const std::vector<double>& times() const { return times_; }

 private:
  void work(Run& run, int thread, std::atomic<bool>& is_whole);
  bool run_turn(const Run& run, size_t turn, int thread);
  void run_phase(Step& step, int phase, const RunContext& context);

  std::shared_ptr<Pool> pool_;
  std::vector<std::shared_ptr<Memory>> memories_;
  /** A step with little to do is left to the first thread: a barrier costs more than the others would save. */
  struct Planned {
    std::unique_ptr<Step> step;
    bool is_serial;
  };

  std::vector<Planned> steps_;
  /** One per thread, then the one that all share. */
  std::vector<std::unique_ptr<Memory>> scratch_;
  std::vector<double> times_;
  size_t scratch_bytes_ = 0;
  int64_t first_commit_;
  std::string failure_;
  std::atomic<bool> has_failed_{false};
};

}  // namespace frostbit
