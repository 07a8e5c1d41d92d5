// 3 × 3 convolutions and their gradients with 2.25 times fewer products (A. Lavin, S. Gray, arXiv:1509.09308): tiles of 2 × 2
// outputs from 4 × 4 inputs. The transforms only add, subtract and halve, in float32, so that errors are those of sums; larger
// tiles save more products, but divide and multiply by factors that cost digits.
#pragma once
#include "plane-convolution.h"

namespace frostbit {

/** Images whose channels are last. */
struct Planes {
  int64_t size[2], channels;

  int64_t elements() const { return size[0] * size[1] * channels; }
};

/**
 * y[p][co] = bias[co] + Σ x[p − begin + k][ci] · w(co, ci, k) over x's channels and the kernel; beyond its edges x is 0. The
 * input gradient is one too: of dy, with the weights' roles and taps the other way round.
 */
struct TiledConvolution {
  Planes x, y;
  int64_t begin[2];
};

inline TiledConvolution forward_of(const PlaneConvolution& shape) {
  return {{{shape.in[0], shape.in[1]}, shape.inputs},
          {{shape.out[0], shape.out[1]}, shape.outputs},
          {shape.begin[0], shape.begin[1]}};
}

inline TiledConvolution input_gradient_of(const PlaneConvolution& shape) {
  return {{{shape.out[0], shape.out[1]}, shape.outputs},
          {{shape.in[0], shape.in[1]}, shape.inputs},
          {2 - shape.begin[0], 2 - shape.begin[1]}};
}

/** Where w(co, ci, k) lies: a kernel's nine taps side by side, from their end where they are reversed. */
struct TiledWeights {
  const float* data;
  int64_t y_step, x_step;
  bool reversed;
};

/** Of images of float, or of bfloat16 (uint16_t): what is multiplied is rounded to the same. Sums are of float32, in an order
 * that the arguments alone decide. */
template <class Element>
struct WinogradKernels {
  const char* name;
  /** Whether they do such convolutions. */
  bool (*serves)(const PlaneConvolution& shape);
  /** Of the transformed weights. */
  int64_t (*filter_bytes)(const TiledConvolution& shape);
  /** Of 64-byte aligned scratch. */
  int64_t (*scratch_bytes)(const TiledConvolution& shape, int64_t images);
  /** What x's channels first to last − 1, both even, are multiplied by. */
  void (*transform)(const TiledConvolution& shape, const TiledWeights& w, int64_t first, int64_t last, void* filter);
  /** `bias` may be null. */
  void (*run)(const TiledConvolution& shape, int64_t images, const Element* x, const void* filter, const float* bias,
              Element* y, char* scratch);
};

/** Null where the processor lacks what they need (AVX-512; AVX-512-BF16) or FROSTBIT_MAX_CPU_ISA forbids AVX-512. */
template <class Element>
const WinogradKernels<Element>* winograd_kernels();

#if defined(__x86_64__)
extern const WinogradKernels<float> winograd_avx512;
extern const WinogradKernels<uint16_t> winograd_avx512_bf16;
#endif

}  // namespace frostbit
