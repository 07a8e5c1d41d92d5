// The addon's names for JavaScript: Memory, Program, information(), and what Ctrl-C does.
#include <napi.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <tuple>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "dnnl-compat.h"
#include "interrupt.h"
#include "matrix-product.h"
#include "program.h"
#include "weight-gradient.h"
#include "winograd.h"

namespace frostbit {
namespace {

Napi::Error problem(Napi::Env env, const std::string& what) { return Napi::Error::New(env, what); }

size_t element_bytes(napi_typedarray_type type) {
  switch (type) {
    case napi_int16_array:
    case napi_uint16_array: return 2;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array: return 4;
    case napi_float64_array:
    case napi_bigint64_array:
    case napi_biguint64_array: return 8;
    default: return 1;
  }
}

/** Bytes of a typed array; shared or detached ones are refused. One call tells all of it: a run may be given a thousand arrays.
 */
Place bytes_of(Napi::Env env, const Napi::Value& value) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  napi_value buffer = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, &buffer, nullptr) != napi_ok)
    throw problem(env, "expected a typed array");
  if (!Napi::Value(env, buffer).IsArrayBuffer()) throw problem(env, "expected a typed array that is not shared");
  if (length > 0 && data == nullptr) throw problem(env, "a typed array was detached");
  return {static_cast<char*>(data), length * element_bytes(type)};
}

/** An array is to hold whole images of 32-bit elements, where they have more channels than one. */
void check_images(Napi::Env env, size_t channels, size_t plane, const Place& array) {
  if (channels == 1 || array.bytes == 0) return;
  const size_t elements = array.bytes / sizeof(uint32_t);
  const bool is_whole = channels > 0 && plane > 0 && channels <= elements && plane <= elements / channels &&
                        array.bytes % (channels * plane * sizeof(uint32_t)) == 0;
  if (!is_whole) throw problem(env, "expected whole images of 32-bit elements");
}

size_t number_of(Napi::Env env, const Napi::Value& value) {
  if (!value.IsNumber()) throw problem(env, "expected a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number < 1e15)) throw problem(env, "expected a number of bytes");
  return static_cast<size_t>(number);
}

size_t number_of(const Napi::CallbackInfo& info, size_t i) { return number_of(info.Env(), info[i]); }

/** Of a run: what it keeps of each is small. */
constexpr size_t kMaxTurns = 4096;

/** What an object was made as: one class's object taken for another's would be a crash. */
constexpr napi_type_tag kMemoryTag = {0x66726f7374626974, 0x6d656d6f72790001};

class MemoryObject : public Napi::ObjectWrap<MemoryObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Memory",
                       {InstanceMethod<&MemoryObject::write>("write"), InstanceMethod<&MemoryObject::read>("read"),
                        InstanceMethod<&MemoryObject::dispose>("dispose")});
  }

  explicit MemoryObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    try {
      memory_ = std::make_shared<Memory>(number_of(info, 0));
    } catch (const std::bad_alloc&) {
      throw problem(info.Env(), "out of memory");
    }
    info.This().As<Napi::Object>().TypeTag(&kMemoryTag);
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), static_cast<int64_t>(memory_->bytes()));
  }

  /** The memory of an object that JavaScript gave. */
  static std::shared_ptr<Memory> of(Napi::Env env, const Napi::Value& value) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kMemoryTag)) throw problem(env, "expected a Memory");
    const MemoryObject& object = *Unwrap(value.As<Napi::Object>());
    object.held(env);
    return object.memory_;
  }

  void Finalize(Napi::Env env) override { release(env); }

 private:
  /** Its bytes go when no program that uses them is left. */
  void release(Napi::Env env) {
    if (!memory_) return;
    Napi::MemoryManagement::AdjustExternalMemory(env, -static_cast<int64_t>(memory_->bytes()));
    memory_.reset();
  }

  void dispose(const Napi::CallbackInfo& info) { release(info.Env()); }

  Memory& held(Napi::Env env) const {
    if (!memory_) throw problem(env, "the memory was disposed of");
    return *memory_;
  }

  /** write(offset, array): bytes as they are; write(offset, array, channels, plane): images, to lie channels last. */
  void write(const Napi::CallbackInfo& info) {
    const size_t offset = number_of(info, 0);
    const Place from = bytes_of(info.Env(), info[1]);
    const Memory& memory = checked(info.Env(), offset, from.bytes);
    const bool is_images = info.Length() > 2;
    const size_t channels = is_images ? number_of(info, 2) : 1, plane = is_images ? number_of(info, 3) : 1;
    check_images(info.Env(), channels, plane, from);
    take_piece(from, memory.data() + offset, channels, plane);
  }

  void read(const Napi::CallbackInfo& info) {
    const size_t offset = number_of(info, 0);
    const Place to = bytes_of(info.Env(), info[1]);
    const Memory& memory = checked(info.Env(), offset, to.bytes);
    if (to.bytes > 0) std::memcpy(to.data, memory.data() + offset, to.bytes);
  }

  const Memory& checked(Napi::Env env, size_t offset, size_t bytes) const {
    const Memory& memory = held(env);
    if (offset > memory.bytes() || bytes > memory.bytes() - offset)
      throw problem(env, "bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) + " of a memory of " +
                             std::to_string(memory.bytes()));
    return memory;
  }

  std::shared_ptr<Memory> memory_;
};

/** Of a typed array of the type, which holds elements of T. */
template <class T>
std::vector<T> elements_of(Napi::Env env, const Napi::Value& value, napi_typedarray_type type, const char* otherwise) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) throw problem(env, otherwise);
  const Place place = bytes_of(env, value);
  const T* data = reinterpret_cast<const T*>(place.data);
  return std::vector<T>(data, data + place.bytes / sizeof(T));
}

std::vector<double> numbers_of(Napi::Env env, const Napi::Value& value) {
  return elements_of<double>(env, value, napi_float64_array, "expected a Float64Array");
}

std::vector<int32_t> integers_of(Napi::Env env, const Napi::Value& value) {
  return elements_of<int32_t>(env, value, napi_int32_array, "expected an Int32Array");
}

/** Bytes that go to a typed array when a run has ended, those of each turn after those of the turn before. */
struct Result {
  std::shared_ptr<Memory> memory;
  size_t offset;
  /** Of all turns. */
  size_t bytes;
  Napi::ObjectReference array;
};

/** What a program's object and its run share; used on JavaScript's thread, but for `aborted`. */
struct RunState {
  bool is_running = false;
  std::shared_ptr<std::atomic<bool>> aborted;
};

/** Runs a program on the pool; a thread of libuv waits meanwhile. */
class Worker : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, std::shared_ptr<Program> program, std::shared_ptr<RunState> state, Run run, std::vector<Result> results,
         Napi::ObjectReference given)
      : AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        program_(std::move(program)),
        state_(std::move(state)),
        run_(std::move(run)),
        results_(std::move(results)),
        given_(std::move(given)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    try {
      is_whole_ = program_->run(run_);
    } catch (const std::exception& error) {
      SetError(error.what());
    }
  }

  void OnOK() override {
    state_->is_running = false;
    try {
      if (is_whole_) give();
    } catch (const Napi::Error& error) {
      return deferred_.Reject(error.Value());
    }
    deferred_.Resolve(Napi::Boolean::New(Env(), is_whole_));
  }

  void OnError(const Napi::Error& error) override {
    state_->is_running = false;
    deferred_.Reject(error.Value());
  }

 private:
  /** Only now: an array may have been detached or made shorter while the program ran. */
  void give() const {
    for (size_t i = 0; i < results_.size(); i++) {
      const auto& [memory, offset, bytes, array] = results_[i];
      const Place place = bytes_of(Env(), array.Value());
      if (place.bytes != bytes) throw problem(Env(), "a result's array was changed during the run");
      if (bytes > 0) std::memcpy(place.data, run_.kept.empty() ? memory->data() + offset : run_.kept[i].all.data(), bytes);
    }
  }

  Napi::Promise::Deferred deferred_;
  std::shared_ptr<Program> program_;
  std::shared_ptr<RunState> state_;
  Run run_;
  std::vector<Result> results_;
  /** Keeps the arrays that the run reads. */
  Napi::ObjectReference given_;
  bool is_whole_ = false;
};

/** new Program(threads, memories, steps, firstCommit) */
class ProgramObject : public Napi::ObjectWrap<ProgramObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Program",
                       {InstanceMethod<&ProgramObject::run>("run"), InstanceMethod<&ProgramObject::abort>("abort"),
                        InstanceMethod<&ProgramObject::describe>("describe"), InstanceMethod<&ProgramObject::times>("times"),
                        InstanceMethod<&ProgramObject::dispose>("dispose")});
  }

  explicit ProgramObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    const Napi::Env env = info.Env();
    const size_t threads = number_of(info, 0);
    if (threads < 1 || threads > 1024) throw problem(env, "expected 1 to 1024 threads");
    if (info.Length() < 4 || !info[1].IsArray() || !info[2].IsArray()) throw problem(env, "expected memories and steps");
    const auto memories = memories_of(env, info[1].As<Napi::Array>());
    const auto steps = steps_of(env, info[2].As<Napi::Array>(), memories, kLevels);
    try {
      program_ =
          std::make_shared<Program>(static_cast<int>(threads), memories, steps, static_cast<int64_t>(number_of(info, 3)));
    } catch (const std::exception& error) {
      throw problem(env, error.what());
    }
    Napi::MemoryManagement::AdjustExternalMemory(env, static_cast<int64_t>(program_->scratch_bytes()));
  }

  void Finalize(Napi::Env env) override { release(env); }

 private:
  /** Its scratch, and memories that only it holds, go when it does not run any more. */
  void release(Napi::Env env) {
    if (!program_) return;
    Napi::MemoryManagement::AdjustExternalMemory(env, -static_cast<int64_t>(program_->scratch_bytes()));
    program_.reset();
  }

  void dispose(const Napi::CallbackInfo& info) { release(info.Env()); }

  Program& held(Napi::Env env) const {
    if (!program_) throw problem(env, "the program was disposed of");
    return *program_;
  }

  static std::vector<std::shared_ptr<Memory>> memories_of(Napi::Env env, const Napi::Array& list) {
    std::vector<std::shared_ptr<Memory>> memories;
    for (uint32_t i = 0; i < list.Length(); i++) {
      const Napi::Value value = list[i];
      memories.push_back(MemoryObject::of(env, value));
    }
    return memories;
  }

  /** Steps, or the operations of a fused one or one of windows, which may have operations of their own on so many levels. */
  static std::vector<StepDescription> steps_of(Napi::Env env, const Napi::Array& list,
                                               const std::vector<std::shared_ptr<Memory>>& memories, int levels) {
    std::vector<StepDescription> steps;
    for (uint32_t i = 0; i < list.Length(); i++) {
      const Napi::Value value = list[i];
      if (!value.IsObject()) throw problem(env, "expected a step");
      const auto object = value.As<Napi::Object>();
      const Napi::Value kernel = object.Get("kernel");
      if (!kernel.IsString()) throw problem(env, "expected a step with a kernel");
      StepDescription step{kernel.As<Napi::String>(), {}, {}, numbers_of(env, object.Get("floats")), {}};
      for (const double number : numbers_of(env, object.Get("ints"))) {
        if (!(number > -1e15 && number < 1e15)) throw problem(env, "expected integers");
        step.ints.push_back(static_cast<int64_t>(number));
      }
      const auto places = numbers_of(env, object.Get("places"));
      if (places.size() % 3 != 0) throw problem(env, "expected places of three numbers");
      for (size_t at = 0; at < places.size(); at += 3) step.places.push_back(place_of(env, &places[at], memories));
      const Napi::Value operations = object.Get("operations");
      if (operations.IsArray() && levels == 0) throw problem(env, "expected fused operations without operations of their own");
      if (operations.IsArray()) step.operations = steps_of(env, operations.As<Napi::Array>(), memories, levels - 1);
      steps.push_back(std::move(step));
    }
    return steps;
  }

  /** Windows, the fused steps in them, and their operations. */
  static constexpr int kLevels = 2;

  /**
   * Memory, offset and bytes; memory −1 where an operand is left out, −2 where it is the buffer of that offset, −3 where its
   * images of a window lie at that offset of the buffers.
   */
  static Place place_of(Napi::Env env, const double* numbers, const std::vector<std::shared_ptr<Memory>>& memories) {
    if (numbers[0] == -1) return {};
    if (numbers[0] == -2) {
      if (!(numbers[1] >= 0 && numbers[1] < 1e6)) throw problem(env, "there is no such buffer");
      return {nullptr, 0, static_cast<int>(numbers[1])};
    }
    const auto [index, offset, bytes] = std::tuple(numbers[0], numbers[1], numbers[2]);
    if (index == -3) {
      if (!(offset >= 0 && offset < 1e12 && bytes >= 0 && bytes < 1e15)) throw problem(env, "there is no such buffer");
      return {nullptr, static_cast<size_t>(bytes), -1, static_cast<int64_t>(offset)};
    }
    if (!(index >= 0 && index < static_cast<double>(memories.size()))) throw problem(env, "there is no such memory");
    const auto& memory = *memories[static_cast<size_t>(index)];
    if (!(offset >= 0 && bytes >= 0 && offset + bytes <= static_cast<double>(memory.bytes())))
      throw problem(env, "a place lies outside its memory");
    return {memory.data() + static_cast<size_t>(offset), static_cast<size_t>(bytes), -1};
  }

  /** run(counts, results, given, turns): results are [memory, offset, array], one after the other. Resolves to whether it ran
   * to its end. */
  Napi::Value run(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 2 || !info[1].IsArray()) throw problem(env, "expected counts and results");
    const auto given = info[2].IsArray() ? info[2].As<Napi::Array>() : Napi::Array::New(env);
    Run run;
    for (const double count : numbers_of(env, info[0])) {
      if (!(count >= 0 && count < 1e15)) throw problem(env, "expected counts");
      run.counts.push_back(static_cast<int64_t>(count));
    }
    if (info.Length() > 3) run.turns = number_of(info, 3);
    if (run.turns < 1 || run.turns > kMaxTurns) throw problem(env, "expected 1 to " + std::to_string(kMaxTurns) + " turns");
    auto results = results_of(env, info[1].As<Napi::Array>(), run.turns);
    run.given = given_of(env, given, run.turns);
    if (run.turns > 1)
      for (const auto& [memory, offset, bytes, _] : results)
        run.kept.push_back({memory, offset, bytes / run.turns, std::vector<char>(bytes)});
    held(env);
    if (state_->is_running) throw problem(env, "the program is running");
    run.aborted = state_->aborted = std::make_shared<std::atomic<bool>>(false);
    auto* worker =
        new Worker(env, program_, state_, std::move(run), std::move(results), Napi::Persistent(given.As<Napi::Object>()));
    const auto promise = worker->promise();
    state_->is_running = true;
    worker->Queue();
    return promise;
  }

  static std::vector<Result> results_of(Napi::Env env, const Napi::Array& list, size_t turns) {
    if (list.Length() % 3 != 0) throw problem(env, "expected results of a memory, an offset and an array");
    std::vector<Result> results;
    for (uint32_t i = 0; i < list.Length(); i += 3) {
      const Napi::Value object = list[i], offset = list[i + 1], array = list[i + 2];
      auto memory = MemoryObject::of(env, object);
      if (!offset.IsNumber()) throw problem(env, "expected an offset");
      const double from = offset.As<Napi::Number>().DoubleValue();
      const size_t bytes = bytes_of(env, array).bytes;
      if (bytes % turns != 0) throw problem(env, "expected as many bytes of each turn");
      if (!(from >= 0 && from + static_cast<double>(bytes / turns) <= static_cast<double>(memory->bytes())))
        throw problem(env, "a result lies outside its memory");
      results.push_back({std::move(memory), static_cast<size_t>(from), bytes, Napi::Persistent(array.As<Napi::Object>())});
    }
    return results;
  }

  /** [memory, offset, channels, plane, arrays, bytes of a piece, places of pieces], one after the other. */
  static std::vector<Given> given_of(Napi::Env env, const Napi::Array& list, size_t turns) {
    constexpr uint32_t kParts = 7;
    if (list.Length() % kParts != 0) throw problem(env, "expected what is given in seven parts each");
    std::vector<Given> all;
    for (uint32_t i = 0; i < list.Length(); i += kParts) {
      const Napi::Value object = list[i], offset = list[i + 1], channels = list[i + 2], plane = list[i + 3],
                        arrays = list[i + 4], piece = list[i + 5], places = list[i + 6];
      if (!arrays.IsArray()) throw problem(env, "expected arrays");
      Given given{MemoryObject::of(env, object), number_of(env, offset), {}, number_of(env, piece), {},
                  number_of(env, channels),      number_of(env, plane)};
      const size_t pieces = add_arrays(env, arrays.As<Napi::Array>(), given);
      given.places = integers_of(env, places);
      for (const int32_t place : given.places)
        if (place < 0 || static_cast<size_t>(place) >= pieces) throw problem(env, "there is no such piece");
      if (given.places.size() % turns != 0) throw problem(env, "expected as many pieces for each turn");
      const size_t space = given.offset > given.memory->bytes() ? 0 : given.memory->bytes() - given.offset;
      if (given.places.size() / turns > space / std::max<size_t>(given.piece_bytes, 1))
        throw problem(env, "what is given lies outside its memory");
      all.push_back(std::move(given));
    }
    return all;
  }

  /** How many pieces they hold: as many each, but for the last. */
  static size_t add_arrays(Napi::Env env, const Napi::Array& list, Given& given) {
    if (given.piece_bytes == 0) return 0;
    check_images(env, given.channels, given.plane, {nullptr, given.piece_bytes});
    size_t pieces = 0;
    for (uint32_t at = 0; at < list.Length(); at++) {
      const Napi::Value array = list[at];
      given.arrays.push_back(bytes_of(env, array));
      const size_t per_array = given.arrays.front().bytes / given.piece_bytes;
      if (per_array == 0 || pieces != at * per_array) throw problem(env, "expected arrays of as many pieces");
      pieces += std::min(given.arrays.back().bytes / given.piece_bytes, per_array);
    }
    return pieces;
  }

  void abort(const Napi::CallbackInfo&) {
    if (state_->aborted) state_->aborted->store(true);
  }

  Napi::Value describe(const Napi::CallbackInfo& info) {
    auto lines = Napi::Array::New(info.Env());
    uint32_t at = 0;
    for (const auto& line : held(info.Env()).describe()) lines[at++] = Napi::String::New(info.Env(), line);
    return lines;
  }

  Napi::Value times(const Napi::CallbackInfo& info) {
    auto list = Napi::Array::New(info.Env());
    uint32_t at = 0;
    for (const double time : held(info.Env()).times()) list[at++] = Napi::Number::New(info.Env(), time);
    return list;
  }

  std::shared_ptr<Program> program_;
  std::shared_ptr<RunState> state_ = std::make_shared<RunState>();
};

/** The instruction set that oneDNN chooses from: the processor's, or what ONEDNN_MAX_CPU_ISA leaves. */
const char* name_of(dnnl_cpu_isa_t set) {
#if defined(__aarch64__)
  // oneDNN's headers name x64's sets alone.
  switch (static_cast<int>(set)) {
    case 0x1: return "asimd";
    case 0x3: return "sve_128";
    case 0x7: return "sve_256";
    case 0x1f:  // oneDNN 2
    case 0x27: return "sve_512";
    default: return "other";
  }
#else
  switch (set) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx2_vnni: return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
#if DNNL_VERSION_MAJOR >= 3
    case dnnl_cpu_isa_avx2_vnni_2: return "avx2_vnni_2";
    case dnnl_cpu_isa_avx512_core_fp16: return "avx512_core_fp16";
    case dnnl_cpu_isa_avx512_core_amx_fp16: return "avx512_core_amx_fp16";
#endif
    default: return "other";
  }
#endif
}

/** Versions and instruction sets. */
Napi::Value information(const Napi::CallbackInfo& info) {
  const auto* version = dnnl_version();
  auto result = Napi::Object::New(info.Env());
  result.Set("oneDnn",
             std::to_string(version->major) + "." + std::to_string(version->minor) + "." + std::to_string(version->patch));
  result.Set("kernels", best_kernels().name);
  result.Set("hasBfloat16", direct_weight_gradient() != nullptr);
  result.Set("hasWinograd", winograd_kernels<float>() != nullptr);
  result.Set("productsDiffer", tiles_state() == TilesState::Differ);
  result.Set("oneDnnKernels", name_of(dnnl_get_effective_cpu_isa()));
#if defined(__x86_64__)
  const auto has = [isa = static_cast<int>(dnnl::get_effective_cpu_isa())](dnnl::cpu_isa wanted) {
    return (isa & static_cast<int>(wanted)) == static_cast<int>(wanted);
  };
  // AVX2's VNNI does not count: oneDNN's matrix products of codes for AVX2 do without it.
  result.Set("exactIntegers", has(dnnl::cpu_isa::avx512_core_vnni));
  result.Set("bfloat16", has(dnnl::cpu_isa::avx512_core_bf16));
#else
  // Sums of 8-bit products saturate in 16 bits on x64 alone.
  result.Set("exactIntegers", true);
  result.Set("bfloat16", false);
#endif
  return result;
}

void end_after(const Napi::CallbackInfo& info) {
  end_after_signal(info[0].IsUndefined() ? -1 : static_cast<long>(number_of(info, 0)));
}

void remove_files(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsArray()) throw problem(info.Env(), "expected a list of paths");
  const Napi::Array given = info[0].As<Napi::Array>();
  std::vector<std::string> paths;
  for (uint32_t i = 0; i < given.Length(); i++) paths.push_back(given.Get(i).ToString().Utf8Value());
  remove_at_signal(paths);
}

/**
 * What takes a megabyte goes back to the system once it is freed: glibc would map fewer and fewer with every one that is, and
 * keep the others' memory between what lives longer. Where the environment says how it is to be, it stays so.
 */
void map_large_arrays() {
#if defined(__GLIBC__)
  constexpr int kMapped = 1 << 20;
  if (std::getenv("MALLOC_MMAP_THRESHOLD_") || std::getenv("GLIBC_TUNABLES")) return;
  mallopt(M_MMAP_THRESHOLD, kMapped);
  mallopt(M_TRIM_THRESHOLD, 2 * kMapped);
#endif
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  map_large_arrays();
  exports.Set("Memory", MemoryObject::define(env));
  exports.Set("Program", ProgramObject::define(env));
  exports.Set("information", Napi::Function::New(env, information));
  exports.Set("endAfterSignal", Napi::Function::New(env, end_after));
  exports.Set("removeAtSignal", Napi::Function::New(env, remove_files));
  return exports;
}

}  // namespace
}  // namespace frostbit

static Napi::Object initialize_addon(Napi::Env env, Napi::Object exports) { return frostbit::initialize(env, exports); }
NODE_API_MODULE(frostbit, initialize_addon)
