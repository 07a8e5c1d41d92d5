// Choices at random, as src/kernels/random.ts makes them.
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
    const RandomPlaces places{static_cast<uint32_t>(*counter_), static_cast<uint32_t>(limit_), chunk.begin, channels_, plane_};
    kernels_->random_choice(chunk.at(a_), chunk.at(b_), chunk.at(y_), chunk.count, places);
  }

 private:
  const Kernels* kernels_;
  int64_t limit_, channels_, plane_;
  Elementwise<float> a_, b_;
  int64_t* counter_;
  Elementwise<float> y_;
};

}  // namespace

FusedOperationMakers random_operations() { return {{"randomChoice", make_operation<RandomChoiceOperation>}}; }

}  // namespace frostbit
