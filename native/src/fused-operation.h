// What a fused step does to each chunk of its elements: a chunk stays in the cache from operation to operation.
#pragma once
#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "loop-code.h"

namespace frostbit {

/** Some consecutive elements, and the thread's buffers for them. */
struct Chunk {
  int64_t begin, count;
  int thread;
  float* locals;
  /** Elements of a buffer. */
  int64_t capacity;
  /** The window's buffers, and its first element. */
  char* buffers;
  int64_t first;
  /** Whether the window's codes, made by steps before, are of what is no number; and where to say it of those that are made. */
  bool reads_odd_codes;
  bool* makes_odd_codes;

  template <class T>
  T* at(const Elementwise<T>& operand) const {
    return rows_at(operand, 1);
  }

  /** The same of an operand with one element for each row of `width`. */
  template <class T>
  T* rows_at(const Elementwise<T>& operand, int64_t width) const {
    if (operand.local >= 0) return reinterpret_cast<T*>(locals + operand.local * capacity);
    if (operand.window >= 0) return reinterpret_cast<T*>(buffers + operand.window) + (begin - first) / width;
    return operand.data ? operand.data + begin / width : nullptr;
  }

  /** What odd codes give. */
  void fill_odd(const Elementwise<float>& y) const { std::fill_n(at(y), count, std::numeric_limits<float>::quiet_NaN()); }
};

/** What compiling a fused operation may ask for. */
struct FusedContext {
  int threads;
  const Kernels* kernels;
  /** Elements of the whole step. */
  int64_t count;
  /** Elements of a row: chunks hold whole ones. */
  int64_t width;
};

class FusedOperation {
 public:
  virtual ~FusedOperation() = default;
  /** Whether it gives something that steps of the same windows read as a whole. */
  virtual bool has_prologue() const { return false; }
  /** One thread, before all others begin. */
  virtual void prologue() {}
  /** Each thread, before its first chunk. */
  virtual void prepare(const RunContext&) {}
  virtual void run(const Chunk& chunk) = 0;
  /**
   * Adds to a loop what `run` does, if it can: where all of a step's operations do, the loop takes their place for chunks of
   * whole vectors and rows.
   */
  virtual bool describe(LoopMaker&) { return false; }
  /** Whether the loop may take the chunk. */
  virtual bool is_ready(const Chunk&) { return true; }
  /** Before the loop does a chunk. */
  virtual void enter(const Chunk&) {}
  /** After the loop has done a chunk. */
  virtual void account(const Chunk&) {}
  /** Each thread, after its last chunk. */
  virtual void complete(const RunContext&) {}
  /** Whether something is left to do when all threads are through. */
  virtual bool has_epilogue() const { return false; }
  /** One thread, when all are through. */
  virtual void epilogue(const RunContext&) {}
};

using MakeFusedOperation = std::unique_ptr<FusedOperation> (*)(Arguments&, const FusedContext&);
using FusedOperationMakers = std::map<std::string, MakeFusedOperation>;

template <class T>
std::unique_ptr<FusedOperation> make_operation(Arguments& arguments, const FusedContext& context) {
  return std::make_unique<T>(arguments, context);
}

FusedOperationMakers conversion_operations();
FusedOperationMakers elementwise_operations();
FusedOperationMakers normalization_operations();
FusedOperationMakers quantization_operations();
FusedOperationMakers random_operations();
FusedOperationMakers row_operations();

/** Channels of a loop's row: few are repeated until a row fills some vectors. */
inline int64_t repeated(int64_t channels) { return channels >= 64 ? channels : (64 + channels - 1) / channels * channels; }

/** A few rows of numbers for each thread, a cache line apart. */
template <class T>
class ThreadRows {
 public:
  ThreadRows(int threads, int rows, int64_t width)
      : rows_(rows), stride_((width + 63) / 64 * 64), data_(threads * rows * stride_ + kLine) {}

  T* row(int thread, int row) { return data_.data() + (thread * rows_ + row) * stride_; }
  /** Each thread's own, for a loop; as long as this stays where it is. */
  LoopMaker::OfThread<T*> row_of_thread(int row) {
    return [this, row](int thread) { return this->row(thread, row); };
  }

 private:
  static constexpr int64_t kLine = 64;

  int rows_;
  int64_t stride_;
  std::vector<T> data_;
};

}  // namespace frostbit
