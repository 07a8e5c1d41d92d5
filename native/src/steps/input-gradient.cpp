// The input gradient of a convolution in float32 by Winograd's algorithm.
#include "../winograd.h"
#include "planar-convolution.h"

namespace frostbit {
namespace {

/** Integers: a convolution's. Places: dy, channels last; w [outputs, inputs, kernel]; dx, channels last. All float32. */
class InputGradientStep : public Step {
 public:
  InputGradientStep(Arguments& arguments, CompileContext& context)
      : images_(arguments), kernels_(input_gradient_kernels()) {
    if (!kernels_) arguments.fail("needs a processor with AVX-512, and FROSTBIT_MAX_CPU_ISA=avx512 or none");
    const auto& shape = images_.shape;
    if (!kernels_->serves(shape)) arguments.fail("is of a shape that " + std::string(kernels_->name) + " does not serve");
    dy_ = arguments.place<float>(images_.dy_elements());
    w_ = arguments.place<float>(shape.outputs, images_.row_elements());
    dx_ = arguments.place<float>(images_.x_elements());
    context.want_scratch(kernels_->scratch_bytes(shape, (images_.batch + context.threads - 1) / context.threads));
    context.want_shared(kernels_->filter_elements(shape) * sizeof(float));
  }

  int phases() const override { return 2; }

  void run(int phase, const RunContext& run) override {
    const auto& shape = images_.shape;
    float* filter = reinterpret_cast<float*>(run.shared);
    if (phase == 0) {
      const auto [first, last] = share(run, shape.outputs);
      return kernels_->transform(shape, w_, first, last, filter);
    }
    const auto [begin, end] = share(run, images_.batch);
    kernels_->run(shape, end - begin, dy_ + begin * shape.out[0] * shape.out[1] * shape.outputs, filter,
                  dx_ + begin * shape.in[0] * shape.in[1] * shape.inputs, run.scratch);
  }

  std::string describe() const override { return kernels_->name; }

 private:
  PlanarConvolution images_;
  const InputGradientKernels* kernels_;
  float *dy_, *w_, *dx_;
};

}  // namespace

StepMakers input_gradient_steps() { return {{"convolutionInputGradientWinograd", make_step<InputGradientStep>}}; }

}  // namespace frostbit
