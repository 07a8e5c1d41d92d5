// 3 × 3 convolutions and their input gradients by Winograd's algorithm.
#include "../winograd.h"
#include "planar-convolution.h"

namespace frostbit {
namespace {

/** Integers: a convolution's. Places: x; w [outputs, inputs, kernel]; bias [outputs], if any; y. Images of elements, channels
 * last; else float32. */
struct Forward {
  static TiledConvolution convolution(const PlaneConvolution& shape) { return forward_of(shape); }
  static TiledWeights weights(const PlaneConvolution& shape, const float* w) { return {w, shape.inputs * 9, 9, false}; }
  static const float* bias(Arguments& arguments, const PlaneConvolution& shape) {
    return arguments.optional<float>(shape.outputs);
  }
};

/** Integers: a convolution's. Places: dy; w [outputs, inputs, kernel], float32; dx. Images of elements, channels last. */
struct InputGradient {
  static TiledConvolution convolution(const PlaneConvolution& shape) { return input_gradient_of(shape); }
  static TiledWeights weights(const PlaneConvolution& shape, const float* w) { return {w, 9, shape.inputs * 9, true}; }
  static const float* bias(Arguments&, const PlaneConvolution&) { return nullptr; }
};

template <class Element, class Direction>
class WinogradStep : public ImageStep {
 public:
  WinogradStep(Arguments& arguments, CompileContext& context) : images_(arguments), kernels_(winograd_kernels<Element>()) {
    if (!kernels_)
      arguments.fail("needs a processor with AVX-512 (in bfloat16: AVX-512-BF16), and FROSTBIT_MAX_CPU_ISA=avx512 or none");
    check_images(arguments, context, images_.batch);
    const auto& shape = images_.shape;
    if (!kernels_->serves(shape)) arguments.fail("is of a shape that " + std::string(kernels_->name) + " does not serve");
    convolution_ = Direction::convolution(shape);
    x_ = arguments.images<const Element>(images_.batch, convolution_.x.elements());
    weights_ = Direction::weights(shape, arguments.place<float>(shape.outputs, images_.row_elements()));
    bias_ = Direction::bias(arguments, shape);
    y_ = arguments.images<Element>(images_.batch, convolution_.y.elements());
    context.want_scratch(kernels_->scratch_bytes(convolution_, images_at_once(context, images_.batch)));
    context.want_shared(kernels_->filter_bytes(convolution_));
  }

  Range share_of(const RunContext& run) const override { return share(run, images_.batch); }
  int phases_before() const override { return 1; }

  void before(int, const RunContext& run) override {
    const auto [first, last] = share(run, convolution_.x.channels, 2);
    kernels_->transform(convolution_, weights_, first, last, run.shared);
  }

  void run_window(const RunContext& run, const Window& window) override {
    kernels_->run(convolution_, window.end - window.begin, x_.at(window), run.shared, bias_, y_.at(window), run.scratch);
  }

  std::string describe() const override { return kernels_->name; }

 private:
  PlanarConvolution images_;
  const WinogradKernels<Element>* kernels_;
  TiledConvolution convolution_;
  TiledWeights weights_;
  ImagesOf<const Element> x_;
  const float* bias_;
  ImagesOf<Element> y_;
};

}  // namespace

StepMakers winograd_steps() {
  return {{"convolutionWinograd", make_step<WinogradStep<float, Forward>>},
          {"convolutionInputGradientWinograd", make_step<WinogradStep<float, InputGradient>>},
          {"convolutionInputGradientWinograd:bfloat16", make_step<WinogradStep<uint16_t, InputGradient>>}};
}

}  // namespace frostbit
