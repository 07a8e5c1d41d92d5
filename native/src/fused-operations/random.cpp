// Choices at random, as src/kernels/random.ts makes them.
#include <algorithm>

#include "../fused-operation.h"

namespace frostbit {
namespace {

/** y = a where the element's bits are below the limit, else b; what is absent is 0. */
class RandomChoiceOperation : public FusedOperation {
 public:
  RandomChoiceOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        width_(context.width),
        limit_(arguments.size()),
        channels_(arguments.size()),
        plane_(arguments.size()),
        a_(arguments.optional_elementwise<float>(context.count)),
        b_(arguments.optional_elementwise<float>(context.count)),
        counter_(arguments.place<int64_t>(1)),
        y_(arguments.elementwise<float>(context.count)),
        seeds_(context.threads, 1, std::max<int64_t>(width_, LoopMaker::kLanes)) {
    if (channels_ < 1 || plane_ < 1 || channels_ > kMaxElements / plane_ || limit_ > 0xffffffff)
      arguments.fail("has no such choice");
  }

  void run(const Chunk& chunk) override {
    const RandomPlaces places{static_cast<uint32_t>(*counter_), static_cast<uint32_t>(limit_), chunk.begin, channels_, plane_};
    kernels_->random_choice(chunk.at(a_), chunk.at(b_), chunk.at(y_), chunk.count, places);
  }

  bool describe(LoopMaker& loop) override {
    // A row of channels is a pixel.
    if (channels_ > 1 && channels_ != width_) return false;
    const auto is_a = loop.shared({counter_, limit_, channels_, plane_}, [&] { return drawn(loop); });
    const auto operand = [&](const Elementwise<float>& x) { return x ? loop.read(x) : loop.zero(); };
    const auto a = operand(a_), b = operand(b_);
    loop.write(y_, loop.choose(is_a, a, b));
    return true;
  }

  void enter(const Chunk& chunk) override {
    if (!loop_) return;
    uint32_t* seeds = seeds_.row(chunk.thread, 0);
    const int64_t pixel = chunk.begin / channels_;
    const int64_t first = channels_ > 1 ? pixel / plane_ * channels_ * plane_ + pixel % plane_ : chunk.begin;
    const int64_t apart = channels_ > 1 ? plane_ : 1;
    for (int64_t i = 0; i < row(); i++)
      seeds[i] = static_cast<uint32_t>(*counter_) + static_cast<uint32_t>(first + i * apart) * kElementStep;
  }

 private:
  /** Elements of a loop's row. */
  int64_t row() const { return loop_->has_columns() ? width_ : LoopMaker::kLanes; }

  /** Where bits are below the limit; they are drawn by this operation. */
  LoopMaker::Mask drawn(LoopMaker& loop) {
    loop_ = &loop;
    if (channels_ > 1) loop.have_columns(), loop.end_every(channels_ * plane_);
    const auto step = loop.word([this](int) { return (channels_ > 1 ? 1 : static_cast<uint32_t>(row())) * kElementStep; });
    auto bits = loop.counted(seeds_.row_of_thread(0), step);
    bits = loop.multiply_words(loop.exclusive_or(bits, loop.shifted_right(bits, 16)), loop.word(kMixing[0]));
    bits = loop.multiply_words(loop.exclusive_or(bits, loop.shifted_right(bits, 13)), loop.word(kMixing[1]));
    bits = loop.exclusive_or(bits, loop.shifted_right(bits, 16));
    return loop.is_word_less(bits, loop.word(static_cast<uint32_t>(limit_)));
  }

  const Kernels* kernels_;
  int64_t width_, limit_, channels_, plane_;
  Elementwise<float> a_, b_;
  int64_t* counter_;
  Elementwise<float> y_;
  /** The loop that it draws for, and the seeds of each row's elements there. */
  const LoopMaker* loop_ = nullptr;
  ThreadRows<uint32_t> seeds_;
};

}  // namespace

FusedOperationMakers random_operations() { return {{"randomChoice", make_operation<RandomChoiceOperation>}}; }

}  // namespace frostbit
