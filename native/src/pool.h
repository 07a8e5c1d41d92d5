// The engine's own threads: N of them run the steps of one program at a time, meeting at barriers.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace frostbit {

/** Where all threads of a pool wait for each other: they spin briefly, then sleep. */
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads), waiting_(threads) {}

  /**
   * Waits for the others. `sample` is asked once, by the last to arrive; all get its answer, so that all go on or stop.
   */
  template <class Sample>
  bool wait(Sample sample) {
    const uint32_t generation = generation_.load(std::memory_order_relaxed);
    if (waiting_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const bool answer = sample();
      answers_[generation & 1].store(answer, std::memory_order_relaxed);
      waiting_.store(threads_, std::memory_order_relaxed);
      {
        std::lock_guard<std::mutex> lock(mutex_);
        generation_.store(generation + 1, std::memory_order_release);
      }
      if (sleepers_.load(std::memory_order_relaxed) > 0) awake_.notify_all();
      return answer;
    }
    for (int spin = 0; spin < kSpins; spin++) {
      if (generation_.load(std::memory_order_acquire) != generation) return answer_of(generation);
      pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_.fetch_add(1, std::memory_order_relaxed);
    awake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != generation; });
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    return answer_of(generation);
  }

 private:
  static constexpr int kSpins = 4000;

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    // A hint to yield takes no time on most processors; this takes about as long as the other's pause.
    __asm__ volatile("isb");
#endif
  }

  bool answer_of(uint32_t generation) const { return answers_[generation & 1].load(std::memory_order_relaxed); }

  const int threads_;
  std::atomic<int> waiting_;
  std::atomic<uint32_t> generation_{0};
  /** An answer is overwritten two barriers later, when everybody has read it. */
  std::atomic<bool> answers_[2] = {};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable awake_;
};

class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }
  Barrier& barrier() { return barrier_; }

  /** Calls `task(thread)` on every thread and waits for all; one task at a time. `task` must not throw. */
  void run(const std::function<void(int)>& task);

 private:
  void work(int thread);
  void close();

  const int threads_;
  Barrier barrier_;
  std::mutex one_at_a_time_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable finished_;
  const std::function<void(int)>* task_ = nullptr;
  uint64_t tasks_ = 0;
  int running_ = 0;
  bool is_closing_ = false;
  std::vector<std::thread> workers_;
};

/** The pool of so many threads, shared by all programs that live. */
std::shared_ptr<Pool> pool_of(int threads);

}  // namespace frostbit
