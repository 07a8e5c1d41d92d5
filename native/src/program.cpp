#include "program.h"

#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

namespace frostbit {

namespace {
constexpr size_t kAlignment = 64;
/** Vectors may be read past the end of the last value. */
constexpr size_t kSlack = 64;
/** What one thread touches in about the time that threads take to meet. */
constexpr size_t kSerialBytes = 256 * 1024;

/** While it lives, oneDNN plans for one thread: ours call its primitives each for itself. */
class PlansForOneThread {
 public:
  PlansForOneThread() : threads_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~PlansForOneThread() { omp_set_num_threads(threads_); }
  PlansForOneThread(const PlansForOneThread&) = delete;
  PlansForOneThread& operator=(const PlansForOneThread&) = delete;

 private:
  int threads_;
};

/** This thread's part of what a turn is given. */
void take(const Given& given, size_t turn, size_t turns, const RunContext& run) {
  if (given.places.empty()) return;
  const size_t count = given.places.size() / turns, per_array = given.arrays.front().bytes / given.piece_bytes;
  const int32_t* places = &given.places[turn * count];
  const auto [begin, end] = share(run, static_cast<int64_t>(count));
  for (int64_t i = begin; i < end; i++) {
    const size_t place = places[i];
    char* from = given.arrays[place / per_array].data + place % per_array * given.piece_bytes;
    char* to = given.memory->data() + given.offset + i * given.piece_bytes;
    take_piece({from, given.piece_bytes}, to, given.channels, given.plane);
  }
}

bool has_window_place(const StepDescription& description) {
  const auto& [kernel, places, ints, floats, operations] = description;
  return std::any_of(places.begin(), places.end(), [](const Place& place) { return place.window >= 0; }) ||
         std::any_of(operations.begin(), operations.end(), has_window_place);
}

size_t touched_bytes(const StepDescription& description) {
  size_t bytes = 0;
  for (const auto& place : description.places) bytes += place.bytes;
  for (const auto& operation : description.operations) bytes += touched_bytes(operation);
  return bytes;
}
}  // namespace

void take_piece(const Place& piece, char* to, size_t channels, size_t plane) {
  if (piece.bytes == 0) return;
  if (channels == 1) {
    std::memcpy(to, piece.data, piece.bytes);
    return;
  }
  constexpr size_t kTile = 16;
  const Kernels& kernels = best_kernels();
  const auto* x = reinterpret_cast<const uint32_t*>(piece.data);
  auto* y = reinterpret_cast<uint32_t*>(to);
  for (size_t rest = piece.bytes / sizeof *x / (channels * plane); rest > 0;
       rest--, x += channels * plane, y += channels * plane)
    for (size_t channel = 0; channel < channels; channel += kTile)
      for (size_t at = 0; at < plane; at += kTile)
        kernels.turn_tile(x + channel * plane + at, plane, y + at * channels + channel, channels,
                          std::min(kTile, channels - channel), std::min(kTile, plane - at));
}

Memory::Memory(size_t bytes) : bytes_(bytes), reserved_((bytes + kSlack + kAlignment - 1) / kAlignment * kAlignment) {
  if (is_mapped()) {
    void* const mapped = mmap(nullptr, reserved_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<char*>(mapped);
    return;
  }
  data_ = static_cast<char*>(std::aligned_alloc(kAlignment, reserved_));
  if (!data_) throw std::bad_alloc();
  std::memset(data_, 0, reserved_);
}

Memory::~Memory() {
  if (is_mapped())
    munmap(data_, reserved_);
  else
    std::free(data_);
}

/** What is large goes back to the system at once; malloc would keep it. The address sanitizer watches what malloc gave. */
bool Memory::is_mapped() const {
#if defined(__SANITIZE_ADDRESS__)
  return false;
#else
  return reserved_ >= 256 * 1024;
#endif
}

std::unique_ptr<Step> make_step_of(const StepDescription& description, CompileContext& context) {
  const MakeStep make = step_maker(description.kernel);
  if (!make) throw PlanError("there is no kernel " + description.kernel);
  Arguments arguments(description);
  if (context.images == 0 && description.kernel != "windows" && has_window_place(description))
    arguments.fail("has a window's buffer without windows");
  try {
    return make(arguments, context);
  } catch (const PlanError&) {
    throw;
  } catch (const std::exception& error) {
    arguments.fail(std::string("cannot be made: ") + error.what());
  }
}

Program::Program(int threads, std::vector<std::shared_ptr<Memory>> memories, const std::vector<StepDescription>& steps,
                 int64_t first_commit)
    : pool_(pool_of(threads)), memories_(std::move(memories)), first_commit_(first_commit) {
  const PlansForOneThread plans_for_one_thread;
  CompileContext context{threads, &best_kernels()};
  for (const auto& description : steps) {
    const bool is_serial = touched_bytes(description) <= kSerialBytes;
    context.threads = is_serial ? 1 : threads;
    steps_.push_back({make_step_of(description, context), is_serial});
  }
  scratch_bytes_ = threads * context.scratch_bytes + context.shared_bytes;
  for (int thread = 0; thread < threads; thread++) scratch_.push_back(std::make_unique<Memory>(context.scratch_bytes));
  scratch_.push_back(std::make_unique<Memory>(context.shared_bytes));
  times_.assign(steps_.size(), 0);
}

bool Program::run(Run& run) {
  std::atomic<bool> is_whole{true};
  has_failed_ = false;
  pool_->run([&](int thread) { work(run, thread, is_whole); });
  if (has_failed_) throw PlanError(failure_);
  return is_whole;
}

void Program::run_phase(Step& step, int phase, const RunContext& context) {
  if (has_failed_.load(std::memory_order_relaxed)) return;
  try {
    step.run(phase, context);
  } catch (const std::exception& error) {
    static std::mutex mutex;
    std::lock_guard<std::mutex> lock(mutex);
    failure_ = error.what();
    has_failed_ = true;
  }
}

void Program::work(Run& run, int thread, std::atomic<bool>& is_whole) {
  for (size_t turn = 0; turn < run.turns; turn++) {
    if (!run_turn(run, turn, thread)) {
      is_whole = false;
      return;
    }
    if (run.kept.empty()) continue;
    if (thread == 0)
      for (auto& kept : run.kept) std::memcpy(&kept.all[turn * kept.bytes], kept.memory->data() + kept.offset, kept.bytes);
    pool_->barrier().wait([] { return false; });
  }
}

/** Whether it came to its end. */
bool Program::run_turn(const Run& run, size_t turn, int thread) {
  using Clock = std::chrono::steady_clock;
  const RunContext shared{thread, pool_->threads(), &run.counts, scratch_[thread]->data(), scratch_.back()->data()};
  RunContext alone = shared;
  alone.threads = 1;
  const auto meet = [&](bool may_stop) {
    return pool_->barrier().wait(
        [&] { return has_failed_.load(std::memory_order_relaxed) || (may_stop && run.aborted && run.aborted->load()); });
  };
  if (!run.given.empty()) {
    for (const auto& given : run.given) take(given, turn, run.turns, shared);
    if (meet(turn == 0 && first_commit_ > 0)) return false;
  }
  for (size_t i = 0; i < steps_.size(); i++) {
    const auto start = Clock::now();
    auto& [step, is_serial] = steps_[i];
    const int phases = step->phases();
    const bool may_stop = turn == 0 && static_cast<int64_t>(i) + 1 <= first_commit_;
    bool stop = false;
    if (is_serial) {
      if (thread == 0)
        for (int phase = 0; phase < phases; phase++) run_phase(*step, phase, alone);
      const bool is_last = i + 1 == steps_.size() || !steps_[i + 1].is_serial;
      if (is_last) stop = meet(may_stop);
    } else {
      for (int phase = 0; phase < phases && !stop; phase++) {
        run_phase(*step, phase, shared);
        stop = meet(may_stop && phase == phases - 1);
      }
    }
    if (stop) return false;
    if (thread == 0) times_[i] = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  }
  return true;
}

std::vector<std::string> Program::describe() const {
  std::vector<std::string> lines;
  for (const auto& planned : steps_) lines.push_back(planned.step->describe());
  return lines;
}

}  // namespace frostbit
