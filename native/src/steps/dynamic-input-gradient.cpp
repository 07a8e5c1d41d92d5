// Input gradients of convolutions in 8 bits.
#include "../dynamic-input-gradient.h"

#include "planar-convolution.h"

namespace frostbit {
namespace {

constexpr int64_t kBlock = 16;

/** Integers: a convolution's, the number of scales. Places: dy; w, codes [outputs, inputs, kernel]; scale; dx. Images of
 * bfloat16, channels last. */
class DynamicInputGradientStep : public ImageStep {
 public:
  DynamicInputGradientStep(Arguments& arguments, CompileContext& context)
      : images_(arguments), scales_(arguments.size()), kernels_(dynamic_input_gradient()) {
    if (!kernels_) arguments.fail("needs a processor with AVX-512-BF16 and VNNI, and FROSTBIT_MAX_CPU_ISA=avx512 or none");
    check_images(arguments, context, images_.batch);
    const auto& shape = images_.shape;
    if (!kernels_->serves(shape)) arguments.fail("is of a shape that " + std::string(kernels_->name) + " does not serve");
    if (scales_ != 1 && scales_ != shape.outputs) arguments.fail("has scales that fit no channels");
    dy_ = arguments.images<const uint16_t>(images_.batch, images_.dy_elements());
    w_ = arguments.place<int8_t>(shape.outputs, images_.row_elements());
    scale_ = arguments.place<float>(scales_);
    dx_ = arguments.images<uint16_t>(images_.batch, images_.x_elements());
    context.want_scratch(factors_bytes() + kernels_->scratch_bytes(shape));
    context.want_shared(blocks() * kernels_->filter_bytes(shape));
  }

  Range share_of(const RunContext& run) const override { return share(run, images_.batch); }
  int phases_before() const override { return 1; }

  void before(int, const RunContext& run) override {
    const auto [first, last] = share(run, blocks());
    for (int64_t block = first; block < last; block++)
      kernels_->pack(images_.shape, w_, block, run.shared + block * kernels_->filter_bytes(images_.shape));
  }

  void run_window(const RunContext& run, const Window& window) override {
    auto* factors = reinterpret_cast<float*>(run.scratch);
    for (int64_t o = 0; o < images_.shape.outputs; o++) factors[o] = scale_[scales_ == 1 ? 0 : o];
    kernels_->run(images_.shape, window.end - window.begin, dy_.at(window), run.shared, factors, dx_.at(window),
                  run.scratch + factors_bytes());
  }

  std::string describe() const override { return kernels_->name; }

 private:
  int64_t blocks() const { return images_.shape.inputs / kBlock; }
  size_t factors_bytes() const { return aligned(images_.shape.outputs * sizeof(float)); }

  PlanarConvolution images_;
  int64_t scales_;
  const DynamicInputGradientKernels* kernels_;
  ImagesOf<const uint16_t> dy_;
  int8_t* w_;
  float* scale_;
  ImagesOf<uint16_t> dx_;
};

}  // namespace

StepMakers dynamic_input_gradient_steps() {
  return {{"convolutionInputGradient:dynamic", make_step<DynamicInputGradientStep>}};
}

}  // namespace frostbit
