// What a fused step does to each chunk of its elements: a chunk stays in the cache from part to part.
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
  T* at(const Stream<T>& stream) const {
    if (stream.local < 0) return stream.data ? stream.data + begin : nullptr;
    return reinterpret_cast<T*>(locals + stream.local * capacity);
  }

  /** The same of a stream with one element for each row of `width`. */
  template <class T>
  T* rows_at(const Stream<T>& stream, int64_t width) const {
    return stream.local < 0 ? stream.data + begin / width : at(stream);
  }
};

/** What compiling a part may ask for. */
struct PartContext {
  int threads;
  const Kernels* kernels;
  /** Elements of the whole step. */
  int64_t count;
  /** Elements of a row: chunks hold whole ones. */
  int64_t width;
};

class Part {
 public:
  virtual ~Part() = default;
  /** Each thread, before its first chunk. */
  virtual void prepare(const RunContext&) {}
  virtual void run(const Chunk& chunk) = 0;
  /** Each thread, after its last chunk. */
  virtual void complete(const RunContext&) {}
  /** Whether there is something left to do when all threads are through. */
  virtual bool has_end() const { return false; }
  /** One thread, when all are through. */
  virtual void end(const RunContext&) {}
};

using MakePart = std::unique_ptr<Part> (*)(Arguments&, const PartContext&);
using PartMakers = std::map<std::string, MakePart>;

template <class T>
std::unique_ptr<Part> make_part(Arguments& arguments, const PartContext& context) {
  return std::make_unique<T>(arguments, context);
}

PartMakers conversion_parts();
PartMakers elementwise_parts();
PartMakers normalization_parts();
PartMakers quantization_parts();
PartMakers row_parts();

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
