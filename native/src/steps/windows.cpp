// Steps that go over the same images in turn, some images at a time, so that what passes between them stays in the cache.
#include "steps.h"

namespace frostbit {
namespace {

/**
 * Integers: images of the batch; images of a window at most; bytes of each thread's buffers; 1 where the last window comes
 * first. Operations: the steps, in this
 * order. A place in the buffers holds a window's images of one value, its bytes are those of the batch's.
 */
class WindowsStep : public Step {
 public:
  WindowsStep(Arguments& arguments, CompileContext& context) : images_(arguments.size()), window_(arguments.size()) {
    buffer_bytes_ = arguments.size();
    is_backwards_ = arguments.integer() != 0;
    if (images_ < 1 || window_ < 1 || window_ > images_) arguments.fail("has windows that fit no images");
    scratch_bytes_ = aligned(buffer_bytes_);
    for (const auto& description : arguments.operations()) {
      check(description, arguments);
      CompileContext own{context.threads, context.kernels};
      own.images = images_, own.window = window_;
      auto made = make_step_of(description, own);
      auto* step = dynamic_cast<ImageStep*>(made.get());
      if (!step) arguments.fail("has a step " + description.kernel + ", which does not go over images");
      made.release();
      parts_.push_back({std::unique_ptr<ImageStep>(step), scratch_bytes_, shared_bytes_});
      scratch_bytes_ += aligned(own.scratch_bytes), shared_bytes_ += aligned(own.shared_bytes);
      before_ = std::max(before_, step->phases_before());
      after_ = std::max(after_, step->phases_after());
    }
    context.want_scratch(scratch_bytes_);
    context.want_shared(shared_bytes_);
  }

  int phases() const override { return before_ + 1 + after_; }

  void run(int phase, const RunContext& run) override {
    if (phase == before_) return run_windows(run);
    for (auto& [step, scratch, shared] : parts_) {
      const RunContext own = inside(run, scratch, shared);
      if (phase < before_ && phase < step->phases_before()) step->before(phase, own);
      if (phase > before_ && phase - before_ - 1 < step->phases_after()) step->after(phase - before_ - 1, own);
    }
  }

  std::string describe() const override {
    std::string lines;
    for (const auto& part : parts_) lines += (&part == &parts_.front() ? "" : "\n") + part.step->describe();
    return lines;
  }

 private:
  struct Part {
    std::unique_ptr<ImageStep> step;
    /** Where its own scratch begins. */
    size_t scratch, shared;
  };

  /** Its buffers hold a window, and whole vectors may be read past their end, which is scratch. */
  void check(const StepDescription& description, const Arguments& arguments) const {
    for (const Place& place : description.places) {
      if (place.window < 0) continue;
      const auto bytes = static_cast<int64_t>(place.bytes);
      if (place.window % 64 != 0 || bytes % images_ != 0 || place.window > buffer_bytes_ ||
          bytes / images_ > (buffer_bytes_ - place.window) / window_)
        arguments.fail("has a buffer at " + std::to_string(place.window) + " that does not hold a window of it");
    }
    for (const auto& operation : description.operations) check(operation, arguments);
  }

  static RunContext inside(const RunContext& run, size_t scratch, size_t shared) {
    RunContext own = run;
    own.scratch += scratch, own.shared += shared;
    return own;
  }

  void run_windows(const RunContext& run) {
    for (auto& [step, scratch, shared] : parts_) step->begin(inside(run, scratch, shared));
    const auto [begin, end] = share(run, images_);
    const int64_t windows = (end - begin + window_ - 1) / window_;
    for (int64_t i = 0; i < windows; i++) {
      const int64_t image = begin + (is_backwards_ ? windows - 1 - i : i) * window_;
      bool has_odd_codes = false;
      const Window window{image, std::min(image + window_, end), run.scratch, &has_odd_codes};
      for (auto& [step, scratch, shared] : parts_) step->run_window(inside(run, scratch, shared), window);
    }
    for (auto& [step, scratch, shared] : parts_) step->end(inside(run, scratch, shared));
  }

  int64_t images_, window_, buffer_bytes_;
  bool is_backwards_;
  size_t scratch_bytes_ = 0, shared_bytes_ = 0;
  int before_ = 0, after_ = 0;
  std::vector<Part> parts_;
};

}  // namespace

StepMakers window_steps() { return {{"windows", make_step<WindowsStep>}}; }

}  // namespace frostbit
