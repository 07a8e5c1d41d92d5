// Sums of products over any axes of any number of operands: one plain loop over everything.
#include "steps.h"

namespace frostbit {
namespace {

/** Kept axes, then summed ones; each operand has strides along both. */
class EinsumStep : public Step {
 public:
  EinsumStep(Arguments& arguments, CompileContext&) : kept_(arguments.list()), summed_(arguments.list()) {
    const int64_t operands = arguments.size();
    int64_t max = 1;
    if (operands < 1 || operands > kMax) arguments.fail("has too many operands");
    auto sizes = kept_;
    sizes.insert(sizes.end(), summed_.begin(), summed_.end());
    for (auto& strides : kept_strides_) strides.assign(kept_.size(), 0);
    for (auto& strides : summed_strides_) strides.assign(summed_.size(), 0);
    for (int64_t i = 0; i < operands; i++) {
      const auto strides = arguments.list();
      if (strides.size() != sizes.size() || sizes.size() > kMaxAxes) arguments.fail("has uneven lists");
      const auto middle = strides.begin() + static_cast<int64_t>(kept_.size());
      kept_strides_[i].assign(strides.begin(), middle);
      summed_strides_[i].assign(middle, strides.end());
      const int64_t reached = extent(sizes, strides, 0, arguments);
      x_.push_back(arguments.place<float>(reached));
      max = reached > 0 && max > kMaxElements / reached ? kMaxElements : max * reached;
    }
    // Every axis is an operand's.
    if (product(sizes) > max) arguments.fail("takes the same elements again and again");
    y_ = arguments.place<float>(product(kept_));
  }

  void run(int, const RunContext& run) override {
    const Range all{0, product(summed_)};
    for_each_row(kept_, kept_strides_, share(run, product(kept_)), [&](int64_t row, const int64_t* at) {
      double total = 0;
      for_each_row(summed_, summed_strides_, all, [&](int64_t, const int64_t* inner) {
        double term = 1;
        for (size_t i = 0; i < x_.size(); i++) term *= x_[i][at[i] + inner[i]];
        total += term;
      });
      y_[row] = static_cast<float>(total);
    });
  }

 private:
  static constexpr int64_t kMax = 8;

  std::vector<int64_t> kept_, summed_, kept_strides_[kMax], summed_strides_[kMax];
  std::vector<float*> x_;
  float* y_;
};

}  // namespace

StepMakers einsum_steps() { return {{"einsum", make_step<EinsumStep>}}; }

}  // namespace frostbit
