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
        limit_(arguments.size()),
        channels_(arguments.size()),
        plane_(arguments.size()),
        a_(arguments.optional_elementwise<float>(context.count)),
        b_(arguments.optional_elementwise<float>(context.count)),
        counter_(arguments.place<int64_t>(1)),
        y_(arguments.elementwise<float>(context.count)) {
    if (channels_ < 1 || plane_ < 1 || limit_ > 0xffffffff) arguments.fail("has no such choice");
  }

  void run(const Chunk& chunk) override {
    const float *a = chunk.at(a_), *b = chunk.at(b_);
    float* y = chunk.at(y_);
    if (channels_ == 1) return choose(a, b, y, chunk.count, chunk.begin, 1);
    for (int64_t done = 0; done < chunk.count;) {
      const int64_t at = chunk.begin + done, channel = at % channels_, pixel = at / channels_;
      const int64_t count = std::min(channels_ - channel, chunk.count - done);
      const int64_t first = (pixel / plane_ * channels_ + channel) * plane_ + pixel % plane_;
      choose(a ? a + done : nullptr, b ? b + done : nullptr, y + done, count, first, plane_);
      done += count;
    }
  }

 private:
  void choose(const float* a, const float* b, float* y, int64_t count, int64_t first, int64_t step) const {
    kernels_->random_choice(a, b, y, count,
                            {static_cast<uint32_t>(*counter_), static_cast<uint32_t>(first), static_cast<uint32_t>(step),
                             static_cast<uint32_t>(limit_)});
  }

  const Kernels* kernels_;
  int64_t limit_, channels_, plane_;
  Elementwise<float> a_, b_;
  int64_t* counter_;
  Elementwise<float> y_;
};

}  // namespace

FusedOperationMakers random_operations() { return {{"randomChoice", make_operation<RandomChoiceOperation>}}; }

}  // namespace frostbit
