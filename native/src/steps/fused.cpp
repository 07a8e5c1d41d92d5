// Parts over the same elements, chunk by chunk, so that what passes between them stays in the cache.
#include <algorithm>

#include "../fused-part.h"
#include "steps.h"

namespace frostbit {
namespace {

/** Floats of a buffer: sixteen buffers fit the first-level cache. */
constexpr int64_t kChunk = 512;
constexpr int kMostLocals = 256;
constexpr int64_t kUnit = 16;

const PartMakers& part_makers() {
  static const PartMakers all = [] {
    PartMakers makers;
    for (const auto& family :
         {conversion_parts(), elementwise_parts(), normalization_parts(), quantization_parts(), row_parts()})
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
    const PartContext part_context{context.threads, context.kernels, count_, width_};
    for (const auto& description : arguments.parts()) {
      const auto found = part_makers().find(description.kernel);
      if (found == part_makers().end()) arguments.fail("has no part " + description.kernel);
      for (const Place& place : description.places) {
        if (place.local >= kMostLocals) arguments.fail("has too many buffers");
        locals_ = std::max(locals_, place.local + 1);
      }
      Arguments part(description);
      parts_.push_back(found->second(part, part_context));
      has_end_ = has_end_ || parts_.back()->has_end();
    }
    context.want_scratch(locals_ * capacity() * sizeof(float));
  }

  int phases() const override { return has_end_ ? 2 : 1; }

  void run(int phase, const RunContext& run) override {
    if (phase == 1) {
      if (run.thread == 0)
        for (const auto& part : parts_) part->end(run);
      return;
    }
    for (const auto& part : parts_) part->prepare(run);
    const auto [begin, end] = share(run, count_, width_ * kUnit);
    Chunk chunk{begin, 0, run.thread, reinterpret_cast<float*>(run.scratch), capacity()};
    for (; chunk.begin < end; chunk.begin += chunk_) {
      chunk.count = std::min(chunk_, end - chunk.begin);
      for (const auto& part : parts_) part->run(chunk);
    }
    for (const auto& part : parts_) part->complete(run);
  }

 private:
  /** Whole cache lines. */
  int64_t capacity() const { return (chunk_ + kUnit - 1) / kUnit * kUnit; }

  int64_t count_, width_, chunk_;
  int locals_ = 0;
  bool has_end_ = false;
  std::vector<std::unique_ptr<Part>> parts_;
};

}  // namespace

StepMakers fused_steps() { return {{"fused", make_step<FusedStep>}}; }

}  // namespace frostbit
