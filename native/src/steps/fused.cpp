// Operations over the same elements, chunk by chunk, so that what passes between them stays in the cache.
#include <algorithm>

#include "../fused-operation.h"
#include "steps.h"

namespace frostbit {
namespace {

/** Floats of a buffer: sixteen buffers fit the first-level cache. */
constexpr int64_t kChunk = 512;
constexpr int kMaxLocals = 256;
constexpr int64_t kUnit = 16;

const FusedOperationMakers& operation_makers() {
  static const FusedOperationMakers all = [] {
    FusedOperationMakers makers;
    for (const auto& family : {conversion_operations(), elementwise_operations(), normalization_operations(),
                               quantization_operations(), random_operations(), row_operations()})
      makers.insert(family.begin(), family.end());
    return makers;
  }();
  return all;
}

class FusedStep : public Step {
 public:
  FusedStep(Arguments& arguments, CompileContext& context) : count_(arguments.size()), width_(arguments.size()) {
    if (width_ < 1 || count_ % width_ != 0) arguments.fail("has elements that form no rows");
    chunk_ = width_ >= kChunk ? width_ : kChunk / width_ * width_;
    const FusedContext operation_context{context.threads, context.kernels, count_, width_};
    for (const auto& description : arguments.operations()) {
      const auto found = operation_makers().find(description.kernel);
      if (found == operation_makers().end()) arguments.fail("has no operation " + description.kernel);
      for (const Place& place : description.places) {
        if (place.local >= kMaxLocals) arguments.fail("has too many buffers");
        locals_ = std::max(locals_, place.local + 1);
      }
      Arguments operation(description);
      operations_.push_back(found->second(operation, operation_context));
      has_epilogue_ = has_epilogue_ || operations_.back()->has_epilogue();
    }
    context.want_scratch(locals_ * capacity() * sizeof(float));
  }

  int phases() const override { return has_epilogue_ ? 2 : 1; }

  void run(int phase, const RunContext& run) override {
    if (phase == 1) {
      if (run.thread == 0)
        for (const auto& operation : operations_) operation->epilogue(run);
      return;
    }
    for (const auto& operation : operations_) operation->prepare(run);
    const auto [begin, end] = share(run, count_, width_ * kUnit);
    Chunk chunk{begin, 0, run.thread, reinterpret_cast<float*>(run.scratch), capacity()};
    for (; chunk.begin < end; chunk.begin += chunk_) {
      chunk.count = std::min(chunk_, end - chunk.begin);
      for (const auto& operation : operations_) operation->run(chunk);
    }
    for (const auto& operation : operations_) operation->complete(run);
  }

 private:
  /** Whole cache lines. */
  int64_t capacity() const { return (chunk_ + kUnit - 1) / kUnit * kUnit; }

  int64_t count_, width_, chunk_;
  int locals_ = 0;
  bool has_epilogue_ = false;
  std::vector<std::unique_ptr<FusedOperation>> operations_;
};

}  // namespace

StepMakers fused_steps() { return {{"fused", make_step<FusedStep>}}; }

}  // namespace frostbit
