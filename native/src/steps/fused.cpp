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

class FusedStep : public ImageStep {
 public:
  FusedStep(Arguments& arguments, CompileContext& context) : count_(arguments.size()), width_(arguments.size()) {
    if (width_ < 1 || count_ % width_ != 0) arguments.fail("has elements that form no rows");
    per_image_ = context.images > 0 ? count_ / context.images : 1;
    if (context.images > 0 && (count_ % context.images != 0 || per_image_ % width_ != 0))
      arguments.fail("has images that hold no whole rows");
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
      has_prologue_ = has_prologue_ || (context.images > 0 && operations_.back()->has_prologue());
    }
    context.want_scratch(locals_ * capacity() * sizeof(float));
    make_loop(context);
  }

  int phases_before() const override { return has_prologue_ ? 1 : 0; }
  int phases_after() const override { return has_epilogue_ ? 1 : 0; }

  /** Elements. */
  Range share_of(const RunContext& run) const override { return share(run, count_, width_ * kUnit); }

  void before(int, const RunContext& run) override {
    if (run.thread == 0)
      for (const auto& operation : operations_) operation->prologue();
  }

  void begin(const RunContext& run) override {
    for (const auto& operation : operations_) operation->prepare(run);
    if (loop_) prepare_loop(run.thread);
  }

  void run_window(const RunContext& run, const Window& window) override {
    const int64_t first = window.begin * per_image_, end = window.end * per_image_;
    Chunk chunk{first,
                0,
                run.thread,
                reinterpret_cast<float*>(run.scratch),
                capacity(),
                window.buffers,
                first,
                *window.has_odd_codes,
                window.has_odd_codes};
    for (; chunk.begin < end; chunk.begin += chunk.count) {
      const int64_t rest = end - chunk.begin;
      chunk.count = std::min({loop_chunk_, rest / loop_row_ * loop_row_, rest_of_span(chunk.begin)});
      if (loop_ && chunk.count > 0 && is_ready(chunk)) {
        run_loop(chunk);
        continue;
      }
      chunk.count = std::min(chunk_, rest);
      for (const auto& operation : operations_) operation->run(chunk);
    }
  }

  void end(const RunContext& run) override {
    for (const auto& operation : operations_) operation->complete(run);
  }

  void after(int, const RunContext& run) override {
    if (run.thread == 0)
      for (const auto& operation : operations_) operation->epilogue(run);
  }

  std::string describe() const override { return loop_ ? "one loop" : ""; }

 private:
  static constexpr int64_t kLanes = LoopMaker::kLanes;
  /** Elements that a loop goes over at a time: of rows of more columns fewer, since they are read again for every sixteen. */
  static constexpr int64_t kLoopChunk = 2048, kLoopChunkOfRows = 512, kLoopRows = 8;

  /** What one thread calls the loop with. */
  struct CalledWith {
    std::vector<float> numbers;
    std::vector<float*> rows;
    std::vector<char*> streams;
  };

  /** Machine code for all operations at once, where the processor and they have it. */
  void make_loop(const CompileContext& context) {
    if (std::string(context.kernels->name) != "avx512_bf16") return;
    for (const auto& operation : operations_)
      if (!operation->describe(described_)) return;
    loop_row_ = described_.has_columns() ? width_ : kLanes;
    if (loop_row_ % kLanes != 0) return;
    loop_chunk_ = std::max((loop_row_ > kLanes ? kLoopChunkOfRows : kLoopChunk) / loop_row_, kLoopRows) * loop_row_;
    loop_ = described_.make();
    if (!loop_) return;
    called_with_.resize(context.threads,
                        {std::vector<float>(described_.numbers().size()), std::vector<float*>(described_.rows().size()),
                         std::vector<char*>(described_.streams().size())});
  }

  void prepare_loop(int thread) {
    auto& [numbers, rows, streams] = called_with_[thread];
    for (size_t i = 0; i < numbers.size(); i++) numbers[i] = described_.numbers()[i](thread);
    for (size_t i = 0; i < rows.size(); i++) rows[i] = described_.rows()[i](thread);
  }

  bool is_ready(const Chunk& chunk) const {
    return std::all_of(operations_.begin(), operations_.end(),
                       [&](const auto& operation) { return operation->is_ready(chunk); });
  }

  int64_t rest_of_span(int64_t begin) const {
    const int64_t span = described_.span();
    return span > 0 ? span - begin % span : count_;
  }

  void run_loop(const Chunk& chunk) {
    auto& [numbers, rows, streams] = called_with_[chunk.thread];
    for (size_t i = 0; i < streams.size(); i++)
      streams[i] = described_.streams()[i].at(chunk.begin, chunk.buffers, chunk.first);
    for (const auto& operation : operations_) operation->enter(chunk);
    for (int64_t column = 0; column < loop_row_; column += kLanes)
      loop_->run(streams.data(), column, chunk.count, loop_row_, numbers.data(), rows.data());
    for (const auto& operation : operations_) operation->account(chunk);
  }

  /** Whole cache lines. */
  int64_t capacity() const { return (chunk_ + kUnit - 1) / kUnit * kUnit; }

  int64_t count_, width_, chunk_, per_image_;
  int locals_ = 0;
  bool has_prologue_ = false, has_epilogue_ = false;
  std::vector<std::unique_ptr<FusedOperation>> operations_;
  LoopMaker described_;
  std::unique_ptr<LoopCode> loop_;
  /** Elements that the loop takes at a time, and of which it takes whole multiples. */
  int64_t loop_chunk_ = 0, loop_row_ = kLanes;
  std::vector<CalledWith> called_with_;
};

}  // namespace

StepMakers fused_steps() { return {{"fused", make_step<FusedStep>}}; }

}  // namespace frostbit
