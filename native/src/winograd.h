// Gradients of 3 × 3 convolutions in float32 with 2.25 times fewer products (A. Lavin, S. Gray, arXiv:1509.09308): tiles of 2 × 2
// outputs from 4 × 4 inputs. The transforms only add, subtract and halve, so that errors are those of float32 sums; larger tiles
// save more products, but divide and multiply by factors that cost digits.
#pragma once
#include "plane-convolution.h"

namespace frostbit {

/**
 * dX[p][ci] = Σ dy[p + begin − k][co] · w[co][ci][k] over output channels and the kernel; beyond its edges dy is 0. Sums are of
 * float32, in an order that the arguments alone decide. Images are channels last.
 */
struct InputGradientKernels {
  const char* name;
  /** Whether they do such convolutions. */
  bool (*serves)(const PlaneConvolution& shape);
  /** Floats of the transformed weights. */
  int64_t (*filter_elements)(const PlaneConvolution& shape);
  /** Of 64-byte aligned scratch. */
  int64_t (*scratch_bytes)(const PlaneConvolution& shape, int64_t images);
  /** What output channels first to last − 1 of w [outputs][inputs][3][3] give. */
  void (*transform)(const PlaneConvolution& shape, const float* w, int64_t first, int64_t last, float* filter);
  void (*run)(const PlaneConvolution& shape, int64_t images, const float* dy, const float* filter, float* dx, char* scratch);
};

/** Null where the processor lacks AVX-512 or FROSTBIT_MAX_CPU_ISA forbids it. */
const InputGradientKernels* input_gradient_kernels();

#if defined(__x86_64__)
extern const InputGradientKernels input_gradient_winograd;
#endif

}  // namespace frostbit
