// Input gradients of convolutions of stride 1 in 8 bits: dy is rounded as it is multiplied by the weights' codes, each image in
// steps of its own. As matrix products' (steps/dynamic-product.cpp), with one scale for each output channel or for all in dy.
#pragma once
#include "plane-convolution.h"

namespace frostbit {

/**
 * dx[p][i] = r Σ round(dy[q][o] · scale[o] / r + move) · w[o][i][k] over all q and taps k that q = p + begin − k joins to p,
 * with r = max |dy · scale| / 127 of an image and a move of less than ½ by dy's place in it, whose mean over places is 0. Sums
 * are exact. Images of bfloat16, channels last.
 */
struct DynamicInputGradientKernels {
  const char* name;
  /** Whether they do such convolutions. */
  bool (*serves)(const PlaneConvolution& shape);
  /** Of the packed weights of sixteen of dx's channels. */
  int64_t (*filter_bytes)(const PlaneConvolution& shape);
  /** w: codes as [outputs][inputs][taps]; those of the inputs from 16 · `block` on are packed. */
  void (*pack)(const PlaneConvolution& shape, const int8_t* w, int64_t block, char* filter);
  /** Of 64-byte aligned scratch. */
  int64_t (*scratch_bytes)(const PlaneConvolution& shape);
  /** `filter`: all blocks, one after the other. `scales`: one for each of dy's channels. */
  void (*run)(const PlaneConvolution& shape, int64_t images, const uint16_t* dy, const char* filter, const float* scales,
              uint16_t* dx, char* scratch);
};

/** Null where the processor lacks AVX-512-BF16 (and VNNI) or FROSTBIT_MAX_CPU_ISA forbids them. */
const DynamicInputGradientKernels* dynamic_input_gradient();

#if defined(__x86_64__)
extern const DynamicInputGradientKernels dynamic_input_gradient_avx512_bf16;
#endif

}  // namespace frostbit
