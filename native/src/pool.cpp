#include "pool.h"

#include <omp.h>

#include <map>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace frostbit {

namespace {

/** Denormals are zero, and oneDNN's own teams have one thread. */
void prepare_thread() {
  omp_set_num_threads(1);
#if defined(__x86_64__)
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  _mm_setcsr(_mm_getcsr() | kFlushToZero | kDenormalsAreZero);
#elif defined(__aarch64__)
  constexpr uint64_t kFlushToZero = 1 << 24;
  uint64_t control;
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  __asm__ volatile("msr fpcr, %0" : : "r"(control | kFlushToZero));
#endif
}

}  // namespace

Pool::Pool(int threads) : threads_(threads), barrier_(threads) {
  workers_.reserve(threads);
  try {
    for (int thread = 0; thread < threads; thread++) workers_.emplace_back([this, thread] { work(thread); });
  } catch (...) {
    close();
    throw;
  }
}

Pool::~Pool() { close(); }

void Pool::close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_closing_ = true;
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void Pool::run(const std::function<void(int)>& task) {
  std::lock_guard<std::mutex> turn(one_at_a_time_);
  std::unique_lock<std::mutex> lock(mutex_);
  task_ = &task;
  running_ = threads_;
  tasks_++;
  wake_.notify_all();
  finished_.wait(lock, [&] { return running_ == 0; });
  task_ = nullptr;
}

void Pool::work(int thread) {
  prepare_thread();
  uint64_t done = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return is_closing_ || tasks_ != done; });
    if (is_closing_) return;
    done = tasks_;
    const auto* task = task_;
    lock.unlock();
    (*task)(thread);
    lock.lock();
    if (--running_ == 0) finished_.notify_one();
  }
}

std::shared_ptr<Pool> pool_of(int threads) {
  static std::mutex mutex;
  static std::map<int, std::weak_ptr<Pool>> pools;
  std::lock_guard<std::mutex> lock(mutex);
  auto pool = pools[threads].lock();
  if (!pool) {
    pool = std::make_shared<Pool>(threads);
    pools[threads] = pool;
  }
  return pool;
}

}  // namespace frostbit
