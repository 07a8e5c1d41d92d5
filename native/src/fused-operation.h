// What a fused step does to each chunk of its elements: a chunk stays in the cache from operation to operation.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "program.h"

namespace frostbit {

/** Some consecutive elements, and the thread's buffers for them. */
struct Chunk {
  int64_t begin, count;
  int thread;
  float* locals;
  /** Elements of a buffer. */
  int64_t capacity;

  template <class T>
  T* at(const Elementwise<T>& operand) const {
    if (operand.local < 0) return operand.data ? operand.data + begin : nullptr;
    return reinterpret_cast<T*>(locals + operand.local * capacity);
  }

  /** The same of an operand with one element for each row of `width`. */
  template <class T>
  T* rows_at(const Elementwise<T>& operand, int64_t width) const {
    return operand.local < 0 ? operand.data + begin / width : at(operand);
  }
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
  /** Each thread, before its first chunk. */
  virtual void prepare(const RunContext&) {}
  virtual void run(const Chunk& chunk) = 0;
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

/** A few rows of numbers for each thread, a cache line apart. */
template <class T>
class ThreadRows {
 public:
  ThreadRows(int threads, int rows, int64_t width)
      : rows_(rows), stride_((width + 63) / 64 * 64), data_(threads * rows * stride_ + kLine) {}

  T* row(int thread, int row) { return data_.data() + (thread * rows_ + row) * stride_; }

 private:
  static constexpr int64_t kLine = 64;

  int rows_;
  int64_t stride_;
  std::vector<T> data_;
};

}  // namespace frostbit
